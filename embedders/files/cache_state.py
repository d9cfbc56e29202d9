"""What the cache holds of a model, without fetching or mending anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from embedders.catalog import ModelCard
from embedders.files.cache import (
    MANIFEST,
    FileFacts,
    Slot,
    Wanted,
    archive_slot,
    cache_root,
    hub_slot,
    old_archive_slot,
)
from embedders.files.folder import wanted_files


@dataclass(frozen=True)
class CacheState:
    """Files of a model in the cache.

    ``files`` are those recorded, with size in bytes and sha256; ``problems`` the ones that the model needs or that were
    recorded, and that are missing, of another size or (where asked) of another content, each with what is wrong.
    """

    folder: Path
    revision: str | None = None
    files: Mapping[str, FileFacts] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> Literal["cached", "damaged", "incomplete", "not cached"]:
        """In a word: damaged where a recorded file is not as recorded, incomplete where one was never there."""
        if not self.files and not self.problems:
            return "not cached"
        if not self.problems:
            return "cached"
        return "damaged" if self.problems.keys() & {*self.files, MANIFEST} else "incomplete"


def cache_state(card: ModelCard, cache_dir: str | Path | None = None, *, verify: bool = False) -> CacheState:
    """Look a model up in the cache; ``verify`` reads its files and compares their sha256 with the recorded ones."""
    root = cache_root(cache_dir)
    states = [_state(slot, wanted_files(card), verify) for slot in _slots(card, root)]
    best = min(states, key=lambda state: (bool(state.problems), -len(state.files)), default=None)
    return best or CacheState(root)


def _slots(card: ModelCard, root: Path) -> list[Slot]:
    slots = [hub_slot(root, card.hf)] if card.hf else []
    old = old_archive_slot(root, card.model)
    slots += [archive_slot(root, card.url)] if card.url else []
    return slots + ([old] if old.manifest().files else [])


def _state(slot: Slot, wanted: Wanted, verify: bool) -> CacheState:
    manifest = slot.manifest()
    if not manifest.files and (slot.path / MANIFEST).exists():
        return CacheState(slot.path, problems={MANIFEST: "cannot be read: it records the files' sha256"})
    # Two models may share a repository, and so a slot: only this one's files count.
    names = {*wanted.required, *wanted.optional}
    files = {name: facts for name, facts in manifest.files.items() if name in names}
    if not files.keys() & set(wanted.required):
        return CacheState(slot.path)
    gaps = slot.gaps(wanted, verify=verify)
    problems = {name: why for name, why in gaps.items() if name in wanted.required or name in files}
    return CacheState(slot.path, manifest.revision, files, problems)
