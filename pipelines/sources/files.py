"""A file of a source, and the file systems that files are opened in; local or behind a URL."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import pyarrow as pa
from pyarrow import fs

from pipelines.filesystem import open_filesystem

# What a listing tells of a file's content beside its size: the time of the last change in nanoseconds, or what a store
# of fsspec has of the kind; None where there is nothing.
Stamp = int | str | None


@dataclass(frozen=True)
class FoundFile:
    """A file, found under ``root``; ``name`` is its path relative to that. ``by`` tells how.

    Of one that is written anew, ``bytes`` or ``stamp`` change.
    """

    root: str
    path: str
    name: str
    bytes: int
    by: Literal["name", "folder", "glob"]
    stamp: Stamp = None


def opened(root: str) -> tuple[fs.FileSystem, str]:
    """Open the file system of a path or URL, once, and say where in it that is.

    Threads share it, but for one of fsspec that is not asynchronous: as fsspec has it, each thread has its own. They
    may keep one position in one file for all that read it (``tar://``), or one connection (``ftp://``).
    """
    found, inside = _opened(root)
    if is_of_fsspec(found) and not found.handler.fs.async_impl:
        return _opened(root, threading.get_ident())
    return found, inside


@lru_cache(maxsize=256)
def _opened(root: str, thread: int = 0) -> tuple[fs.FileSystem, str]:
    found, inside = open_filesystem(root)
    if is_of_fsspec(found):
        return fs.PyFileSystem(_FsspecFiles(found.handler.fs)), inside
    return found, inside


def is_of_fsspec(filesystem: fs.FileSystem) -> bool:
    """Whether a file system is one of fsspec, its ``handler.fs``."""
    return isinstance(filesystem, fs.PyFileSystem) and isinstance(filesystem.handler, fs.FSSpecHandler)


class _FsspecFiles(fs.FSSpecHandler):  # type: ignore[misc]
    """Files of fsspec for pyarrow, each of them opened with a position of its own."""

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return self.open_input_file(path)

    def open_input_file(self, path: str) -> pa.NativeFile:
        if not self.fs.isfile(path):
            raise FileNotFoundError(path)
        file = self.fs.open(path, mode="rb")
        # The store in memory hands out the one object that it keeps, whose position all would share.
        return pa.PythonFile(io.BytesIO(file.getvalue()) if isinstance(file, io.BytesIO) else file, mode="r")


def filesystem_of(root: str) -> fs.FileSystem:
    """Open the file system of a path or URL, as ``opened`` does."""
    return opened(root)[0]
