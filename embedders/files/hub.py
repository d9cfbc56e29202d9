"""Finds a model's files: the given folder, our cache, a Hugging Face cache, the Hugging Face hub, a URL archive.

A model in the cache is used without any network call. What is fetched is checked against the hub's hashes, stored
as real files in one flat folder (ONNX Runtime refuses external data behind links) and pinned to its revision.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from huggingface_hub import constants, get_token, try_to_load_from_cache

from embedders.catalog import ModelCard
from embedders.errors import FleetembedError, ModelFilesError, ModelNotFoundError
from embedders.files.archive import extract_archive
from embedders.files.cache import Slot, Wanted, archive_slot, cache_root, files_digest, hub_slot, link_or_copy
from embedders.files.download import DownloadError, Expected, Fetcher, Progress, Timeouts, shown_url
from embedders.files.folder import local_folder, model_files, shown_contents, wanted_files

__all__ = ["Timeouts", "files_digest", "model_files", "resolve_model", "verify_model"]

logger = logging.getLogger(__name__)

GIB = 1 << 30
TRUE_WORDS = frozenset({"1", "ON", "YES", "TRUE"})


@dataclass(frozen=True)
class _Task:
    """One look-up: whose files, where to put them, why the network is off (None: it is on), how patient to be."""

    card: ModelCard
    wanted: Wanted
    root: Path
    offline: str | None
    timeouts: Timeouts
    verify: bool
    progress: Progress | None = None

    def gaps(self, slot: Slot) -> dict[str, str]:
        return slot.gaps(self.wanted, verify=self.verify)

    def faults(self, slot: Slot) -> dict[str, str]:
        """The gaps that matter: required files, and damaged ones. Not optional ones that were never asked for."""
        stored = slot.manifest().files
        return {name: why for name, why in self.gaps(slot).items() if name in self.wanted.required or name in stored}


def resolve_model(
    card: ModelCard,
    *,
    cache_dir: str | Path | None = None,
    specific_model_path: str | Path | None = None,
    local_files_only: bool = False,
    timeouts: Timeouts | None = None,
    progress: Progress | None = None,
) -> Path:
    """Folder with the card's ``model_file``, ``additional_files`` and, where the source has them, tokenizer files.

    ``specific_model_path`` is a local folder and ends the search. ``local_files_only``, or HF_HUB_OFFLINE in the
    environment, forbids the network. Files whose size is not the recorded one are fetched again. ``progress`` is told
    of what is downloaded, as it comes.

    Raises ModelNotFoundError when no place has the model, naming each with its reason, and ModelFilesError when
    the local folder is incomplete, or the cached files are damaged and the network is forbidden.
    """
    root = cache_root(cache_dir)
    if specific_model_path is not None:
        patience = (timeouts or Timeouts.from_env()).total
        return local_folder(card, Path(specific_model_path).expanduser(), root, patience)
    return _resolve(replace(_task(card, root, local_files_only, timeouts, verify=False), progress=progress))


def verify_model(
    card: ModelCard,
    *,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    timeouts: Timeouts | None = None,
) -> Path:
    """Like ``resolve_model``, but every file's sha256 is compared with the recorded one, and mended if it differs."""
    return _resolve(_task(card, cache_root(cache_dir), local_files_only, timeouts, verify=True))


def _task(card: ModelCard, root: Path, local_only: bool, timeouts: Timeouts | None, *, verify: bool) -> _Task:
    offline = "local_files_only=True was given" if local_only else None
    if offline is None and (constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in TRUE_WORDS):
        offline = "HF_HUB_OFFLINE is set"
    return _Task(card, wanted_files(card), root, offline, timeouts or Timeouts.from_env(), verify)


def _resolve(task: _Task) -> Path:
    sources = _sources(task)
    for slot, _ in sources:
        # Offline, nobody can be asked about optional files, and a cache that cannot be written will do.
        if not (task.faults(slot) if task.offline else task.gaps(slot)):
            return slot.path
    tried = []
    for slot, fill in sources:
        try:
            with slot.filling(task.timeouts.total) as stage:
                if task.gaps(slot):
                    fill(task, slot, stage)
        except (FleetembedError, OSError) as error:
            tried.append((slot, _redacted(str(error))))
        else:
            if not task.faults(slot):
                return slot.path
    # Raised here, where no exception is being handled: a chained one could show what the message hides.
    raise _failure(task, [slot for slot, _ in sources], tried)


def _sources(task: _Task) -> list[tuple[Slot, Callable[[_Task, Slot, Path], None]]]:
    sources: list[tuple[Slot, Callable[[_Task, Slot, Path], None]]] = []
    if task.card.hf:
        sources.append((hub_slot(task.root, task.card.hf), _fill_from_hub))
    if task.card.url:
        sources.append((archive_slot(task.root, task.card.url), _fill_from_archive))
    return sources


def _fill_from_hub(task: _Task, slot: Slot, stage: Path) -> None:
    assert task.card.hf
    _import_snapshot(task, slot, stage)
    gaps = task.gaps(slot)
    if not gaps or task.offline:
        return
    endpoint, headers = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/"), _authorization()
    with Fetcher(task.timeouts, task.progress) as fetcher:
        found = _listing(task, slot, fetcher, endpoint, headers)
        if found is None:
            return
        commit, known = found
        lacking = [name for name in gaps if name not in known]
        if required := [name for name in lacking if name in task.wanted.required]:
            repo = f"{shown_url(endpoint)}/{task.card.hf}"
            raise DownloadError(f"{repo} at revision {commit} has no {', '.join(required)}")
        # The model file comes last: where it is, the optional files that exist are too, whatever broke off meanwhile.
        fetched = [name for name in reversed(gaps) if name in known]
        logger.info("model %s: downloading %s from %s", task.card.model, ", ".join(fetched), task.card.hf)
        for name in fetched:
            url = f"{endpoint}/{quote(task.card.hf)}/resolve/{commit}/{quote(name)}"
            fetcher.file(url, stage / name, known[name], headers)
            # One by one: what has arrived need not come again if a later file fails.
            slot.publish(stage, [name], commit)
    slot.publish(stage, [], commit, absent=lacking)


def _listing(
    task: _Task, slot: Slot, fetcher: Fetcher, endpoint: str, headers: dict[str, str]
) -> tuple[str, dict[str, Expected]] | None:
    """Commit and files of the repository; None if it cannot be had and the slot does without it."""
    insistent = bool(task.faults(slot))
    repo, revision = task.card.hf or "", slot.manifest().revision
    at_revision = f"/revision/{revision}" if revision else ""
    url = f"{endpoint}/api/models/{quote(repo)}{at_revision}?blobs=true"
    try:
        return _parse_listing(fetcher.json(url, headers, attempts=None if insistent else 1), repo, endpoint)
    except DownloadError as error:
        if insistent:
            raise
        unknown = ", ".join(task.gaps(slot))
        logger.warning(
            "model %s is used from a Hugging Face cache; whether it also has %s is not known: %s. "
            "HF_HUB_OFFLINE=1 skips the question",
            *(task.card.model, unknown, _redacted(str(error))),
        )
        return None


def _parse_listing(listing: Any, repo: str, endpoint: str) -> tuple[str, dict[str, Expected]]:
    """Commit and files of the hub's answer; plain files carry a git blob id, large ones a sha256."""
    try:
        files = {
            item["rfilename"]: Expected(item.get("size"), (item.get("lfs") or {}).get("sha256"), item.get("blobId"))
            for item in listing["siblings"]
        }
        return str(listing["sha"]), files
    except (TypeError, KeyError, AttributeError):
        raise DownloadError(f"{shown_url(endpoint)} does not describe {repo} as the Hugging Face hub does") from None


def _import_snapshot(task: _Task, slot: Slot, stage: Path) -> None:
    """Take what a Hugging Face cache holds: one in our folder, as fastembed keeps it, or the user's own."""
    for cache in (task.root, Path(constants.HF_HUB_CACHE)):
        gaps = task.gaps(slot)
        required = [name for name in gaps if name in task.wanted.required]
        optional = [name for name in gaps if name not in required]
        if found := _snapshot(task, cache, slot.manifest().revision, required, optional):
            commit, paths, absent = found
            recorded = slot.manifest().files
            for name, path in paths.items():
                link_or_copy(path, stage / name)
                facts = recorded.get(name)
                expected = Expected(facts.size, facts.sha256) if facts else _blob_hash(path)
                if problem := expected.mismatch(stage / name):
                    logger.warning("not using the damaged file %s: %s", path, problem)
                    break
            else:
                slot.publish(stage, paths, commit, absent)


def _snapshot(
    task: _Task, cache: Path, revision: str | None, required: list[str], optional: list[str]
) -> tuple[str, dict[str, Path], list[str]] | None:
    """Commit, files found, and files known not to exist; None unless all of ``required`` are there."""
    found: dict[str, Path] = {}
    absent = []
    for name in (*required, *optional):
        hit = try_to_load_from_cache(task.card.hf or "", name, cache_dir=cache, revision=revision)
        if isinstance(hit, str):
            found[name] = Path(hit)
            # Layout: <cache>/models--<org>--<name>/snapshots/<commit>/<file>.
            revision = Path(hit).relative_to(cache).parts[2]
        elif name in required:
            return None
        elif hit is not None:
            absent.append(name)
    return (revision, found, absent) if revision and (found or absent) else None


def _blob_hash(path: Path) -> Expected:
    """A Hugging Face cache links to blobs named by their hash: sha256 of large files, git blob id of others."""
    name = path.readlink().name if path.is_symlink() else ""
    return Expected(sha256=name if len(name) == 64 else None, git_sha1=name if len(name) == 40 else None)


def _fill_from_archive(task: _Task, slot: Slot, stage: Path) -> None:
    assert task.card.url
    if task.offline:
        return
    with Fetcher(task.timeouts, task.progress) as fetcher:
        logger.info("model %s: downloading %s", task.card.model, shown_url(task.card.url))
        archive = stage / "archive.tar.gz"
        fetcher.file(task.card.url, archive, Expected(sha256=task.card.url_sha256), {})
    unpacked = stage / "unpacked"
    # The card's size is the download's, rounded; archives of weights unpack to little more.
    extract_archive(archive, unpacked, max_bytes=int((4 * task.card.size_gb + 1) * GIB))
    folder = _model_root(task.card, unpacked)
    missing = [name for name in task.wanted.required if not (folder / name).is_file()]
    if missing:
        raise ModelFilesError(f"archive {shown_url(task.card.url)} lacks {', '.join(missing)}")
    names = model_files(task.card, folder)
    slot.publish(folder, names, None, absent=[name for name in task.wanted.optional if name not in names])


def _model_root(card: ModelCard, unpacked: Path) -> Path:
    """The folder of an archive, itself or one it holds, where the model file lies."""
    for folder in (unpacked, *sorted(path for path in unpacked.iterdir() if path.is_dir())):
        if (folder / card.model_file).is_file():
            return folder
    raise ModelFilesError(
        f"archive {shown_url(card.url or '')} lacks {card.model_file}; it holds {shown_contents(unpacked)}"
    )


def _failure(task: _Task, slots: list[Slot], tried: list[tuple[Slot, str]]) -> FleetembedError:
    lines = []
    for slot in slots:
        revision = slot.manifest().revision
        pinned = f" (from revision {revision}; delete the folder to take the current one)" if revision else ""
        reasons: dict[str, list[str]] = {}
        for name, why in task.faults(slot).items():
            reasons.setdefault(why, []).append(name)
        lines += [f"cache {slot.path}: {_listed(names)} {why}{pinned}" for why, names in reasons.items()]
    lines += [f"{_source_name(task.card, slot)}: {why}" for slot, why in tried]
    if not slots:
        lines.append("its card names neither a Hugging Face repository nor a URL")
    if task.offline:
        lines.append(f"network: not tried, because {task.offline}")
    damaged = any(slot.manifest().files.keys() & task.faults(slot).keys() for slot in slots)
    advice = "Allow the network once" if task.offline else "Check the network, HF_ENDPOINT and HF_TOKEN"
    places = "\n".join(f"  - {line}" for line in lines)
    message = (
        f"model {task.card.model}: its files are {'damaged' if damaged else 'in none of the places tried'}:\n{places}\n"
        f"{advice}, or give a local folder with specific_model_path. "
        "The cache folder is set by cache_dir or FLEETEMBED_CACHE_DIR."
    )
    return ModelFilesError(message) if damaged and task.offline else ModelNotFoundError(message)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"each of {', '.join(names)}"


def _source_name(card: ModelCard, slot: Slot) -> str:
    return shown_url(card.url or "") if slot.name.startswith("url--") else f"Hugging Face hub, {card.hf}"


def _authorization() -> dict[str, str]:
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    # httpx would quote the header that it cannot send.
    if token and not (token.isascii() and token.isprintable()):
        raise DownloadError("HF_TOKEN holds characters that no token has: is it pasted wholly and only?")
    return {"authorization": f"Bearer {token}"} if token else {}


def _redacted(text: str) -> str:
    token = get_token()
    return text.replace(token, "<token>") if token else text
