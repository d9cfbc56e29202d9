"""fastembed's caches, which are looked into and never written to.

They hold Hugging Face caches (``models--org--name/snapshots/<commit>/``, beside these ``files_metadata.json`` with the
sizes) and folders of archives (``fast-<name>``, or ``<name>`` for models of one's own).
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from embedders.catalog import ModelCard
from embedders.files.cache import Slot, link_or_copy
from embedders.files.folder import model_files
from embedders.files.lookup import Lookup

SIZES = "files_metadata.json"

logger = logging.getLogger(__name__)


def fastembed_caches() -> list[Path]:
    """Folders to look into: FASTEMBED_CACHE_PATH, and fastembed's default in the folder for temporary files."""
    chosen = os.environ.get("FASTEMBED_CACHE_PATH")
    default = Path(tempfile.gettempdir()) / "fastembed_cache"
    folders = [Path(chosen).expanduser()] if chosen else []
    # Anybody may write into a folder for temporary files.
    return [*folders, *([default] if _is_ours(default) and default not in folders else [])]


def _is_ours(folder: Path) -> bool:
    try:
        owner = folder.stat().st_uid
    except OSError:
        return False
    return not hasattr(os, "getuid") or owner in (os.getuid(), 0)


def cached_repository(cache: Path, repo: str) -> str:
    """The repository's name as a cache spells it: early versions of fastembed wrote some in lower case."""
    expected = f"models--{repo.replace('/', '--')}"
    alike = {entry.name for entry in _entries(cache) if entry.name.lower() == expected.lower()}
    found = expected if expected in alike or not alike else min(alike)
    return found.removeprefix("models--").replace("--", "/", repo.count("/"))


def recorded_sizes(cache: Path, repo: str, commit: str) -> Mapping[str, int]:
    """Bytes of a snapshot's files as fastembed recorded them when it had downloaded them; empty where it did not."""
    folder, start = cache / f"models--{repo.replace('/', '--')}", f"snapshots/{commit}/"
    try:
        facts = json.loads((folder / SIZES).read_text(encoding="utf-8"))
        return {name[len(start) :]: int(facts[name]["size"]) for name in facts if name.startswith(start)}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def archive_folder(card: ModelCard, root: Path) -> Path | None:
    """The folder of the card's archive in a cache of fastembed, or in ours; None where none has one."""
    name = card.model.rpartition("/")[2]
    names = (f"fast-{name}", name) if card.url else (f"fast-{name}",)
    folders = (cache / one for cache in (root, *fastembed_caches()) for one in names)
    return next((folder for folder in folders if _is_file(folder / card.model_file)), None)


def fill_from_archive_folder(lookup: Lookup, slot: Slot, stage: Path) -> None:
    """Take the model out of the folder of its archive, where all files that it needs are there."""
    folder = archive_folder(lookup.card, lookup.root)
    if folder is None or not all(_is_file(folder / name) for name in lookup.wanted.required):
        return
    if lookup.card.url is None:
        logger.warning(
            "model %s is taken from %s, an archive that an early fastembed downloaded, since it is nowhere else; "
            "delete %s once the hub can be reached, to have the current files",
            *(lookup.card.model, folder, slot.path),
        )
    names = model_files(lookup.card, folder)
    for name in names:
        link_or_copy(folder / name, stage / name)
    slot.publish(stage, names, None, absent=[name for name in lookup.wanted.optional if name not in names])


def describe_search(card: ModelCard) -> list[str]:
    """Say of each cache of fastembed's that it was looked into, for a message about a model that is nowhere."""
    return [f"fastembed's cache {folder}: {_state(card, folder)}" for folder in fastembed_caches()]


def _state(card: ModelCard, folder: Path) -> str:
    try:
        names = {entry.name for entry in folder.iterdir()}
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    repo = f"models--{cached_repository(folder, card.hf or '').replace('/', '--')}"
    return f"its {repo} lacks files, or has damaged ones" if repo in names else "it does not hold the model"


def _entries(folder: Path) -> list[Path]:
    """What a folder holds; nothing where it cannot be read."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _is_file(path: Path) -> bool:
    """Whether there is a file; False also where nobody may look."""
    try:
        return path.is_file()
    except OSError:
        return False
