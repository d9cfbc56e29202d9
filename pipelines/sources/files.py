"""Finds the files of a source: a file, a folder with all below it, or a glob; local or behind a URL."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

import pyarrow as pa
from fsspec.utils import glob_translate
from pyarrow import fs

from embedders.errors import FleetembedError
from pipelines.errors import SourceError
from pipelines.filesystem import open_filesystem, without_credentials

_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class FoundFile:
    """A file, found under ``root``; ``name`` is its path relative to that. ``by`` tells how."""

    root: str
    path: str
    name: str
    bytes: int
    by: Literal["name", "folder", "glob"]

    @property
    def place(self) -> tuple[str, str, str]:
        """What is equal for one file found twice."""
        url = urlsplit(self.root) if "://" in self.root else urlsplit("")
        return url.scheme, url.netloc, self.path


def opened(root: str) -> tuple[fs.FileSystem, str]:
    """Open the file system of a path or URL, once, and say where in it that is.

    Threads share it, but for one of fsspec that is not asynchronous: as fsspec has it, each thread has its own. They
    may keep one position in one file for all that read it (``tar://``), or one connection (``ftp://``).
    """
    found, inside = _opened(root)
    if isinstance(found, fs.PyFileSystem) and not found.handler.fs.async_impl:
        return _opened(root, threading.get_ident())
    return found, inside


@lru_cache(maxsize=256)
def _opened(root: str, thread: int = 0) -> tuple[fs.FileSystem, str]:
    found, inside = open_filesystem(root)
    if isinstance(found, fs.PyFileSystem):
        return fs.PyFileSystem(_FsspecFiles(found.handler.fs)), inside
    return found, inside


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


def find_files(path: str, folder_marks: Sequence[str] = ()) -> list[FoundFile]:
    """Expand one path of a source into its files, sorted by name.

    Below a folder or glob, names that begin with ``.`` or ``_`` are passed over. A folder that a glob matches is
    expanded where it has a file of one of the names ``folder_marks``. Raises SourceError where there is nothing.
    """
    try:
        found = _find(path, folder_marks)
    except FleetembedError:
        raise
    # Each store has errors of its own kind.
    except Exception as error:
        raise SourceError(f"source.path {without_credentials(path)}: {error}") from error
    if not found:
        place = without_credentials(path) if "://" in path else open_filesystem(path)[1]
        raise SourceError(
            f"source.path {place}: there is no such file; below a folder or glob, names that begin with '.' or '_' "
            "are passed over"
        )
    return sorted(found, key=lambda file: file.name)


def _find(path: str, folder_marks: Sequence[str]) -> list[FoundFile]:
    filesystem, inside = open_filesystem(path)
    info = filesystem.get_file_info(inside)
    if info.type == fs.FileType.File:
        return [FoundFile(path, info.path, PurePosixPath(info.path).name, info.size or 0, by="name")]
    if info.type == fs.FileType.Directory:
        return _files(path, _below(path), by="folder")
    return _glob(path, folder_marks)


def _glob(path: str, folder_marks: Sequence[str]) -> list[FoundFile]:
    folder, pattern = _split_glob(path)
    if not pattern:
        return []
    matches = re.compile(glob_translate(pattern)).match
    deep = "/" in pattern or "**" in pattern
    listed = _below(folder, deep=deep)
    found = {name: info for name, info in listed.items() if matches(name)}
    inside = {
        f"{name}/{below}": file
        for name, info in found.items()
        if info.type == fs.FileType.Directory and _is_marked(folder, info.path, folder_marks)
        for below, file in _below(folder, info.path).items()
    }
    alone = {name: info for name, info in found.items() if name not in inside}
    return [*_files(folder, alone, by="glob"), *_files(folder, inside, by="folder")]


def _is_marked(root: str, folder: str, marks: Sequence[str]) -> bool:
    infos = open_filesystem(root)[0].get_file_info([f"{folder}/{mark}" for mark in marks])
    return any(info.type == fs.FileType.File for info in infos)


def _below(root: str, folder: str | None = None, *, deep: bool = True) -> dict[str, fs.FileInfo]:
    """List what is below a folder, by its name from there; the folder is that of ``root`` unless given."""
    filesystem, inside = open_filesystem(root)
    base = (folder or inside).rstrip("/")
    selector = fs.FileSelector(base or "/", allow_not_found=True, recursive=deep)
    named = {info.path.removeprefix(base).lstrip("/"): info for info in filesystem.get_file_info(selector)}
    return {
        name: info
        for name, info in named.items()
        if not any(part.startswith((".", "_")) for part in PurePosixPath(name).parts)
    }


def _files(root: str, listed: Mapping[str, fs.FileInfo], *, by: Literal["folder", "glob"]) -> list[FoundFile]:
    return [
        FoundFile(root, info.path, name, info.size or 0, by=by)
        for name, info in listed.items()
        if info.type == fs.FileType.File
    ]


def _split_glob(path: str) -> tuple[str, str]:
    """Split a path at its first part with a wildcard: the folder to list and the pattern of names below it.

    In a URL, a question mark is no wildcard but begins the options of its file system; they stay with the folder.
    """
    body, mark, options = path.partition("?") if "://" in path else (path, "", "")
    parts = body.split("/")
    first = next((at for at, part in enumerate(parts) if _WILDCARD.search(part)), len(parts))
    folder = "/".join(parts[:first]) or ("/" if body.startswith("/") else ".")
    return folder + mark + options, "/".join(parts[first:])
