"""Finds the files of a source: a file, a folder with all below it, or a glob; local or behind a URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

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


@lru_cache(maxsize=64)
def opened(root: str) -> tuple[fs.FileSystem, str]:
    """Open the file system of a path or URL, once a process, and say where in it that is."""
    return open_filesystem(root)


def filesystem_of(root: str) -> fs.FileSystem:
    """Open the file system of a path or URL; once a process."""
    return opened(root)[0]


def find_files(path: str) -> list[FoundFile]:
    """Expand one path of a source into its files, sorted by name.

    Below a folder or glob, names that begin with ``.`` or ``_`` are passed over. Raises SourceError where there is
    nothing.
    """
    try:
        found = _find(path)
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


def _find(path: str) -> list[FoundFile]:
    filesystem, inside = open_filesystem(path)
    info = filesystem.get_file_info(inside)
    if info.type == fs.FileType.File:
        return [FoundFile(path, info.path, PurePosixPath(info.path).name, info.size or 0, by="name")]
    if info.type == fs.FileType.Directory:
        return _below(path, by="folder")
    return _glob(path)


def _glob(path: str) -> list[FoundFile]:
    folder, pattern = _split_glob(path)
    if not pattern:
        return []
    matches = re.compile(glob_translate(pattern)).match
    deep = "/" in pattern or "**" in pattern
    return [file for file in _below(folder, by="glob", deep=deep) if matches(file.name)]


def _below(folder: str, *, by: Literal["folder", "glob"], deep: bool = True) -> list[FoundFile]:
    filesystem, inside = open_filesystem(folder)
    base = inside.rstrip("/")
    selector = fs.FileSelector(base or "/", allow_not_found=True, recursive=deep)
    found = []
    for info in filesystem.get_file_info(selector):
        name = info.path.removeprefix(base).lstrip("/")
        hidden = any(part.startswith((".", "_")) for part in PurePosixPath(name).parts)
        if info.type == fs.FileType.File and not hidden:
            found.append(FoundFile(folder, info.path, name, info.size or 0, by=by))
    return found


def _split_glob(path: str) -> tuple[str, str]:
    """Split a path at its first part with a wildcard: the folder to list and the pattern of names below it.

    In a URL, a question mark is no wildcard but begins the options of its file system; they stay with the folder.
    """
    body, mark, options = path.partition("?") if "://" in path else (path, "", "")
    parts = body.split("/")
    first = next((at for at, part in enumerate(parts) if _WILDCARD.search(part)), len(parts))
    folder = "/".join(parts[:first]) or ("/" if body.startswith("/") else ".")
    return folder + mark + options, "/".join(parts[first:])
