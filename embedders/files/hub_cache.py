"""Takes a model's files out of a Hugging Face cache, where another program has put them."""

from __future__ import annotations

import logging
from pathlib import Path

from huggingface_hub import constants

from embedders.files.cache import Slot, link_or_copy
from embedders.files.fastembed_cache import cached_repository, fastembed_caches, recorded_sizes
from embedders.files.hashing import Expected
from embedders.files.lookup import Lookup

logger = logging.getLogger(__name__)


def fill_from_hub_cache(lookup: Lookup, slot: Slot, stage: Path) -> None:
    """Take what a Hugging Face cache holds: one in our folder or in fastembed's, as fastembed has it, or the user's."""
    for cache in (lookup.root, *fastembed_caches(), Path(constants.HF_HUB_CACHE)):
        repo = cached_repository(cache, lookup.card.hf or "")
        if not _is_folder(cache / f"models--{repo.replace('/', '--')}"):
            continue
        gaps = lookup.gaps(slot)
        required = [name for name in gaps if name in lookup.wanted.required]
        optional = [name for name in gaps if name not in required]
        if found := _snapshot(repo, cache, slot.manifest().revision, required, optional):
            commit, paths, absent = found
            recorded, sizes = slot.manifest().files, recorded_sizes(cache, repo, commit)
            for name, path in paths.items():
                link_or_copy(path, stage / name)
                facts = recorded.get(name)
                expected = Expected(facts.size, facts.sha256) if facts else _blob_hash(path, sizes.get(name))
                if problem := expected.mismatch(stage / name):
                    logger.warning("not using the damaged file %s: %s", path, problem)
                    break
            else:
                slot.publish(stage, paths, commit, absent)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    # A name that is too long.
    except OSError:
        return False


def _snapshot(
    repo: str, cache: Path, revision: str | None, required: list[str], optional: list[str]
) -> tuple[str, dict[str, Path], list[str]] | None:
    """Commit, files found, and files known not to exist; None unless all of ``required`` are there."""
    # Imported late: it brings the network's libraries.
    from huggingface_hub import try_to_load_from_cache

    found: dict[str, Path] = {}
    absent = []
    for name in (*required, *optional):
        hit = try_to_load_from_cache(repo, name, cache_dir=cache, revision=revision)
        if isinstance(hit, str):
            found[name] = Path(hit)
            # Layout: <cache>/models--<org>--<name>/snapshots/<commit>/<file>.
            revision = Path(hit).relative_to(cache).parts[2]
        elif name in required:
            return None
        elif hit is not None:
            absent.append(name)
    return (revision, found, absent) if revision and (found or absent) else None


def _blob_hash(path: Path, size: int | None) -> Expected:
    """A Hugging Face cache links to blobs named by their hash: sha256 of large files, git blob id of others."""
    name = path.readlink().name if path.is_symlink() else ""
    return Expected(size, sha256=name if len(name) == 64 else None, git_sha1=name if len(name) == 40 else None)
