"""Finds the files of a source: a file, a folder with all below it, or a glob; local or behind a URL."""

from __future__ import annotations

import glob
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from fsspec.utils import glob_translate
from pyarrow import fs

from embedders.errors import FleetembedError
from pipelines.errors import SourceError
from pipelines.filesystem import open_filesystem
from pipelines.sources.files import FoundFile, Stamp, is_of_fsspec
from pipelines.sources.walk import Found, walk
from pipelines.urls import Place, decode, decodes, is_url, is_utf8, local_path, place_of, store_of, without_credentials

_WILDCARD = re.compile(r"[*?\[]")
# Keys by which stores of fsspec tell of a file's content, in small letters and without underscores.
STAMPS = frozenset(
    ("etag", "lastmodified", "mtime", "modified", "updated", "created", "generation", "md5hash", "crc32c", "checksum")
)


@dataclass(frozen=True)
class Listing:
    """Files that one path of a source names, by their places and in the order of their names.

    ``base`` is the place of the file or folder that the path names, of a glob that of its fixed part. ``unnamed`` are
    files left out because their names are not UTF-8. ``outputs`` are those of ``files`` that lie in a folder, by its
    name, whose files a command of this package made.
    """

    base: Place
    files: dict[Place, FoundFile]
    unnamed: frozenset[str] = frozenset()
    outputs: Mapping[Place, str] = field(default_factory=dict)


def find_files(path: str, folder_marks: Sequence[str] = ()) -> Listing:
    """Expand one path of a source into its files; each real file is there once, whatever links lead to it.

    Below a folder or glob, names that begin with ``.`` or ``_`` are passed over. A folder that a glob matches is read
    as a folder; one that has a file of one of the names ``folder_marks`` is so even where the glob matches each of its
    files, too. Raises SourceError where there is nothing.
    """
    try:
        listing = _find(path, folder_marks)
    except FleetembedError:
        raise
    # Each store has errors of its own kind.
    except Exception as error:
        raise SourceError(f"source.path {without_credentials(path)}: {error}") from error
    if not listing.files and not listing.unnamed:
        raise SourceError(f"source.path {local_path(path) or without_credentials(path)}: {_why_nothing(path)}")
    return listing


def _why_nothing(path: str) -> str:
    """Say why a path names no file: it is an empty folder, a glob that matches nothing, or not there."""
    passed_over = "; names that begin with '.' or '_' are passed over"
    filesystem, inside = open_filesystem(path)
    if filesystem.get_file_info(inside).type == fs.FileType.Directory:
        return f"there is no file in this folder{passed_over}"
    if _split_glob(path)[1]:
        return f"there is no such file: nothing matches this glob{passed_over}"
    near = _nearest_beside(path)
    return "there is no such file or folder" + (f"; did you mean {near!r}?" if near else "")


def _nearest_beside(path: str) -> str | None:
    """Find the name on this machine, in the same folder, that is most like the one that is not there."""
    place = local_path(path)
    names: list[str] = []
    with suppress(OSError):
        names = [one.name for one in Path(place).parent.iterdir()] if place is not None else []
    return next(iter(get_close_matches(PurePosixPath(place or "").name, names, 1)), None)


def refresh(path: str) -> None:
    """Let the store of a path forget what it listed, so that the next listing asks anew."""
    filesystem = open_filesystem(path)[0]
    if is_of_fsspec(filesystem):
        filesystem.handler.fs.invalidate_cache()


def _find(path: str, marks: Sequence[str]) -> Listing:
    filesystem, inside = open_filesystem(path)
    if not is_utf8(inside):
        raise SourceError(
            f"source.path {path}: it is in a folder whose name is not UTF-8; rename that or move the data"
        )
    info = filesystem.get_file_info(inside)
    if info.type == fs.FileType.File:
        place, name = place_of(path, info.path), PurePosixPath(info.path).name
        stamp = stamp_of(filesystem.handler.fs.info(inside)) if is_of_fsspec(filesystem) else info.mtime_ns
        return Listing(place, {place: FoundFile(path, info.path, name, info.size or 0, "name", stamp)})
    if info.type == fs.FileType.Directory:
        return _listing(path, inside, None, marks)
    folder, pattern = _split_glob(path)
    if not pattern:
        return Listing(place_of(path, inside), {})
    return _listing(folder, open_filesystem(folder)[1], _decoded(pattern, path), marks)


def _listing(root: str, folder: str, pattern: str | None, marks: Sequence[str]) -> Listing:
    """List what is below a folder and, unless None, matches a pattern."""
    local = local_path(root) is not None
    found = walk(folder, pattern, marks) if local else _below_store(root, folder, pattern, marks)
    named = [file for file in found if is_utf8(file.name)]
    best: dict[str, Found] = {}
    for file in sorted(named, key=lambda file: (file.linked, not file.marked, file.by == "folder", file.name)):
        best.setdefault(file.real, file)
    store = "" if local else store_of(root)
    return Listing(
        place_of(root, folder),
        {
            (store, real): FoundFile(root, file.path, file.name, file.bytes, file.by, file.stamp)
            for real, file in sorted(best.items(), key=lambda item: item[1].name)
        },
        frozenset(file.name for file in found if not is_utf8(file.name) and file.real not in best),
        {(store, real): file.output for real, file in best.items() if file.output is not None},
    )


def _below_store(root: str, folder: str, pattern: str | None, marks: Sequence[str]) -> list[Found]:
    """List files of a store, with as few requests as may be; a store has no links."""
    if pattern is None:
        return _found(_below(root, folder), "folder")
    only_folders, pattern = pattern.endswith("/"), pattern.rstrip("/")
    matches = re.compile(glob_translate(pattern)).match
    deep = "/" in pattern or "**" in pattern
    listed = _below(root, folder, deep=deep)
    chosen = [entry for entry in listed if matches(entry.name)]
    found = [] if only_folders else _found(chosen, "glob")
    folders = [entry for entry in chosen if entry.is_folder]
    if not deep:
        for one in folders:
            listed += [below.under(one.name) for below in _below(root, one.path)]
    marked = {posixpath.dirname(entry.name) for entry in listed if posixpath.basename(entry.name) in marks}
    for names, is_marked in (({one.name for one in folders}, False), ({one.name for one in folders} & marked, True)):
        inside = (entry for entry in listed if not names.isdisjoint(_above(entry.name)))
        found += _found(inside, "folder", marked=is_marked)
    return found


def _above(name: str) -> Iterator[str]:
    """Names of the folders around a file."""
    while name := posixpath.dirname(name):
        yield name


@dataclass(frozen=True)
class _Entry:
    """A file or folder in a store, and its name from where it was listed."""

    name: str
    path: str
    bytes: int
    is_folder: bool
    stamp: Stamp

    def under(self, folder: str) -> _Entry:
        return replace(self, name=f"{folder}/{self.name}")


def _found(entries: Iterable[_Entry], by: Literal["folder", "glob"], *, marked: bool = False) -> list[Found]:
    files = (entry for entry in entries if not entry.is_folder)
    return [Found(file.path, file.name, file.bytes, file.path, by, marked=marked, stamp=file.stamp) for file in files]


def _below(root: str, folder: str, *, deep: bool = True) -> list[_Entry]:
    """List what is below a folder and is not hidden."""
    base = folder.rstrip("/")
    entries = [
        _Entry(path.removeprefix(base).lstrip("/"), path, size, is_folder, stamp)
        for path, size, is_folder, stamp in _contents(open_filesystem(root)[0], base or "/", deep=deep)
    ]
    return [
        entry for entry in entries if not any(part.startswith((".", "_")) for part in PurePosixPath(entry.name).parts)
    ]


def _contents(filesystem: fs.FileSystem, base: str, *, deep: bool) -> list[tuple[str, int, bool, Stamp]]:
    """Paths, sizes, whether it is a folder, and stamps of all that is below one."""
    if is_of_fsspec(filesystem):
        # pyarrow would leave out the stamps of many stores, and names that are not UTF-8, as an archive may have.
        store = filesystem.handler.fs
        if not store.isdir(base):
            return []
        found = store.find(base, maxdepth=None if deep else 1, withdirs=True, detail=True)
        return [
            (path, info["size"] or 0, info["type"] == "directory", stamp_of(info))
            for path, info in found.items()
            if info["type"] in ("file", "directory") and path.strip("/") != base.strip("/")
        ]
    kinds = (fs.FileType.File, fs.FileType.Directory)
    infos = filesystem.get_file_info(fs.FileSelector(base, allow_not_found=True, recursive=deep))
    return [(info.path, info.size or 0, info.type == kinds[1], info.mtime_ns) for info in infos if info.type in kinds]


def stamp_of(info: Mapping[str, Any]) -> Stamp:
    """Put together what a store of fsspec tells of a file's content and when it was changed."""
    told = [f"{key}={info[key]}" for key in sorted(info) if key.lower().replace("_", "") in STAMPS]
    return " ".join(told) or None


def _split_glob(path: str) -> tuple[str, str]:
    """Split a path at its first part with a wildcard: the folder to list and the pattern of names below it.

    A folder whose own name looks like a pattern is that folder. In a URL, a question mark is no wildcard but begins
    the options of its file system; they stay with the folder.
    """
    body, mark, options = path.partition("?") if is_url(path) else (path, "", "")
    parts = body.split("/")

    def folder(stop: int) -> str:
        return ("/".join(parts[:stop]) or ("/" if body.startswith("/") else ".")) + mark + options

    for at, part in enumerate(parts):
        if _WILDCARD.search(part) and not (at + 1 < len(parts) and _is_folder(folder(at + 1))):
            pattern = [part for part in parts[at:-1] if part not in ("", ".")]
            return folder(at), "/".join([*pattern, parts[-1]])
    return path, ""


def _is_folder(path: str) -> bool:
    filesystem, inside = open_filesystem(path)
    return bool(filesystem.get_file_info(inside).type == fs.FileType.Directory)


def _decoded(pattern: str, path: str) -> str:
    """Decode the pattern of a URL as its folder is, so that what is encoded in it is no wildcard."""
    if not decodes(path) or decode(pattern) == pattern:
        return pattern
    return re.sub("(?:%[0-9A-Fa-f]{2})+", lambda codes: glob.escape(decode(codes[0])), pattern)
