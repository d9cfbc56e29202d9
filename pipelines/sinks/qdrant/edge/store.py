"""A folder of collections of qdrant-edge: its lock, what it says of each collection, and their open shards.

The engine knows shards alone. Which collections there are, in which folders, with which settings and metadata, is in
one JSON file, which is replaced whole; so a killed process leaves the old file or the new one.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import portalocker
import qdrant_edge as edge
from portalocker.exceptions import LockException
from qdrant_client import models

from embedders.files.atomic import whole_file
from embedders.retrying import Patience, retry
from pipelines.sinks.qdrant.edge.errors import EngineError, FolderInUseError, engine_errors
from pipelines.sinks.qdrant.edge.settings import edge_config
from pipelines.sinks.qdrant.folder_engine import EDGE_FILE

FORMAT = 1
# qdrant-client's own engine looks at this lock as well.
LOCK = ".lock"
SHARDS = "shards"
# Bytes that stay free. The engine maps its files into memory: where the disk is full, the system kills the process.
RESERVE = 128 * 1024 * 1024
# The engine's own lock is freed a moment after the process that held it is gone.
SHARD_PATIENCE = Patience(5, first_pause=0.05, longest_pause=0.5)


@dataclass
class StoredCollection:
    """A collection: the folder of its shard, below ``SHARDS``, and what it was created with, metadata included.

    ``indexed`` tells that nothing was written since its indexes were built.
    """

    folder: str
    config: models.CreateCollection
    indexed: bool = True


class EdgeStore:
    """An open folder, which no other process can open; several threads may use it.

    Raises FolderInUseError where another process has it open, OSError or ValueError where it cannot be read.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self._shards: dict[str, Any] = {}
        self._opening = threading.RLock()
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self.path / LOCK)
        try:
            self.collections = _read(self.path / EDGE_FILE)
            if not (self.path / EDGE_FILE).exists():
                self._save()
        except BaseException:
            self._lock.close()
            raise

    def stored(self, name: str) -> StoredCollection:
        """Return a collection; raises ValueError where there is none of that name."""
        if name not in self.collections:
            raise ValueError(f"Collection {name} not found")
        return self.collections[name]

    def shard(self, name: str) -> Any:
        """Return the open shard of a collection, and open it before if need be."""
        stored = self.stored(name)
        if self._lock.closed:
            raise EngineError(f"{self.path} is closed")
        with self._opening:
            if name not in self._shards:
                self.refuse_full_disk()
                self._shards[name] = self._opened(self.shard_folder(stored))
            return self._shards[name]

    def shard_folder(self, stored: StoredCollection) -> Path:
        """Return where the files of a collection are."""
        return self.path / SHARDS / stored.folder

    def refuse_full_disk(self) -> None:
        """Raise EngineError where the disk has less than RESERVE left."""
        free = shutil.disk_usage(self.path).free
        if free < RESERVE:
            raise EngineError(
                f"the disk of {self.path} is full: {free // 1024**2:,} MiB are free, and Qdrant's engine needs "
                f"{RESERVE // 1024**2}; make room, and run again"
            )

    def create(self, name: str, config: models.CreateCollection) -> None:
        """Create a collection; raises ValueError where there is one of that name."""
        if name in self.collections:
            raise ValueError(f"Collection {name} already exists")
        self.refuse_full_disk()
        made = edge_config(config)
        stored = StoredCollection(self._free_folder(), config)
        folder = self.shard_folder(stored)
        # What a process left that was killed here before it wrote the collection down.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with engine_errors("creating the collection"):
            self._shards[name] = edge.EdgeShard.create(str(folder), made)
        self.collections[name] = stored
        self._save()

    def remember(self, name: str, metadata: dict[str, Any]) -> None:
        """Merge entries into a collection's metadata; one that is None is deleted."""
        config = self.stored(name).config
        merged = {**(config.metadata or {}), **json.loads(json.dumps(metadata))}
        config.metadata = {key: value for key, value in merged.items() if value is not None}
        self._save()

    def mark(self, name: str, *, indexed: bool) -> None:
        """Write down whether a collection's indexes are built, where that is news."""
        stored = self.stored(name)
        if stored.indexed != indexed:
            stored.indexed = indexed
            self._save()

    def delete(self, name: str) -> bool:
        """Delete a collection; tells whether there was one."""
        if name not in self.collections:
            return False
        self.close_shard(name)
        stored = self.collections.pop(name)
        self._save()
        shutil.rmtree(self.shard_folder(stored), ignore_errors=True)
        return True

    def close_shard(self, name: str) -> None:
        """Put a collection's points on the disk and close its files; ``shard`` opens them again."""
        with self._opening:
            shard = self._shards.pop(name, None)
            if shard is not None:
                with engine_errors("closing the collection"):
                    shard.flush()
                    shard.close()

    def close(self) -> None:
        """Close all files and give the folder free."""
        try:
            for name in list(self._shards):
                self.close_shard(name)
        finally:
            self._lock.close()

    def _opened(self, folder: Path) -> Any:
        try:
            return retry(
                lambda: _load(folder), SHARD_PATIENCE, passing=lambda error: isinstance(error, FolderInUseError)
            )
        except FolderInUseError as error:
            raise EngineError(str(error)) from None

    def _free_folder(self) -> str:
        taken = {stored.folder for stored in self.collections.values()}
        return next(str(number) for number in range(1, len(taken) + 2) if str(number) not in taken)

    def _save(self) -> None:
        collections = {
            name: {
                "folder": stored.folder,
                "indexed": stored.indexed,
                "config": stored.config.model_dump(mode="json", exclude_none=True),
            }
            for name, stored in self.collections.items()
        }
        with whole_file(self.path / EDGE_FILE) as file:
            file.write(json.dumps({"format": FORMAT, "collections": collections}, ensure_ascii=False).encode())
            file.flush()
            os.fsync(file.fileno())


def _locked(path: Path) -> TextIO:
    file = path.open("a")
    try:
        portalocker.lock(file, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
    except LockException:
        file.close()
        raise FolderInUseError(f"{path.parent} is open in another process") from None
    return file


def _read(path: Path) -> dict[str, StoredCollection]:
    if not path.exists():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path.name} is of a format that this version does not know")
    return {
        name: StoredCollection(
            told["folder"], models.CreateCollection.model_validate(told["config"]), bool(told["indexed"])
        )
        for name, told in content["collections"].items()
    }


def _load(folder: Path) -> Any:
    with engine_errors(f"opening {folder}"):
        try:
            return edge.EdgeShard.load(str(folder))
        except Exception as error:
            if "WouldBlock" in str(error):
                raise FolderInUseError(f"{folder} is open in another process") from None
            raise
