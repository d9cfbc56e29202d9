"""One digest over a model's files, which its fingerprint covers; hashes of files that did not change are remembered."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from embedders.errors import ModelFilesError, ModelNotFoundError
from embedders.files.atomic import write_atomically
from embedders.files.cache import cache_root, short_hash
from embedders.files.hashing import file_sha256

# A file changed twice within one tick of the file system's clock looks the same; git calls such a stamp racy.
RACY_SECONDS = 2.0


def files_digest(folder: str | Path, files: Iterable[str]) -> str:
    """Hex sha256 over the names (relative to ``folder``) and contents of ``files``, whatever their order.

    Raises as ``file_digests``.
    """
    digest = hashlib.sha256()
    for name, sha256 in file_digests(folder, files).items():
        digest.update(f"{name}\0{sha256}\n".encode())
    return digest.hexdigest()


def file_digests(folder: str | Path, files: Iterable[str]) -> dict[str, str]:
    """Hex sha256 of each of ``files`` (relative to ``folder``), sorted by name.

    Hashes are remembered in the cache folder by the file's path, size, inode and times of change, so that large
    files are read once. Raises ModelFilesError naming the file that is missing.
    """
    folder = Path(folder).resolve()
    memory = None
    # Without a cache, files are read anew at each start.
    with suppress(ModelNotFoundError):
        memory = cache_root() / ".digests" / f"{short_hash(str(folder))}.json"
    known = {} if memory is None else _remembered(memory)
    fresh: dict[str, Any] = {}
    digests: dict[str, str] = {}
    for name in sorted(set(files)):
        try:
            stamp = _stamp(folder / name)
            entry = known.get(name)
            if not (isinstance(entry, list) and len(entry) == 2 and entry[0] == stamp):
                entry = fresh[name] = [stamp, file_sha256(folder / name)]
        except OSError as error:
            raise ModelFilesError(f"{folder / name} cannot be read: {error.strerror}") from None
        digests[name] = entry[1]
    settled = {name: entry for name, entry in fresh.items() if _settled(folder / name, entry[0])}
    if settled and memory is not None:
        # A cache that cannot be written costs time at the next start, nothing else.
        with suppress(OSError):
            write_atomically(memory, json.dumps({**known, **settled}, indent=1).encode())
    return digests


def identity(folder: Path, names: Iterable[str]) -> str:
    """Hex sha256 over which files the names lead to, with their size, inode and time of modification."""
    # Not the inode's time of change: hard-linking the file renews it.
    stamps = [(name, str((folder / name).resolve()), _stamp(folder / name)[:3]) for name in sorted(set(names))]
    return hashlib.sha256(json.dumps(stamps).encode()).hexdigest()


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns]


def _settled(path: Path, stamp: list[int]) -> bool:
    with suppress(OSError):
        return _stamp(path) == stamp and time.time() - max(stamp[2:]) / 1e9 > RACY_SECONDS
    return False


def _remembered(memory: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        data = json.loads(memory.read_text(encoding="utf-8"))
        if isinstance(data, dict):
            return data
    return {}
