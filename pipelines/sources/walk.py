"""Walks folders of this machine, along links and past names that are not UTF-8, both of which pyarrow has no way for.

pyarrow follows a link to a folder above for ever, and lists no folder in which one name is not UTF-8.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from fsspec.utils import glob_translate

from pipelines.sources.files import Stamp

# In place of a number of a part of the pattern: all that is below the folder.
ALL = -1
# A file in a folder of files that a command of this package made, which are no documents.
OUTPUT_MARK = ".fleetembed-output"


@dataclass(frozen=True)
class Found:
    """A file: its path as it is spelled, its name from where the walk began, its size, and where it really is.

    ``by`` tells what it was found by, ``linked`` whether on a way through a link, ``marked`` whether in a folder that
    is one dataset, ``output`` the name of a folder around it that has an OUTPUT_MARK.
    """

    path: str
    name: str
    bytes: int
    real: str
    by: Literal["folder", "glob"]
    linked: bool = False
    marked: bool = False
    output: str | None = None
    stamp: Stamp = None


@dataclass(frozen=True)
class _Visit:
    """A folder to look into, and with which part of the pattern its entries are to be compared."""

    path: str
    name: str
    real: str
    at: int
    linked: bool = False
    marked: bool = False
    output: str | None = None


def walk(base: str, pattern: str | None, marks: Sequence[str] = ()) -> list[Found]:
    """Find the files below a folder, all of them or those that match a glob; hidden names are passed over.

    No real folder is looked into twice with the same part of the pattern, those without a link on the way to them
    first: links that lead in circles come to an end. A file may still be found on several ways.
    """
    parts = [] if pattern is None else pattern.split("/")
    real = os.path.realpath(base)
    straight = deque([_Visit(base.rstrip("/"), "", real, ALL if pattern is None else 0)])
    linked: deque[_Visit] = deque()
    seen: set[tuple[str, int, bool]] = set()
    found: list[Found] = []
    while straight or linked:
        visit = straight.popleft() if straight else linked.popleft()
        key = visit.real, visit.at, visit.marked
        if key in seen:
            continue
        seen.add(key)
        for step in _look_into(visit, parts, marks):
            if isinstance(step, Found):
                found.append(step)
            else:
                (linked if step.linked else straight).append(step)
    return found


def _look_into(visit: _Visit, parts: Sequence[str], marks: Sequence[str]) -> Iterator[Found | _Visit]:
    part = "**" if visit.at == ALL else parts[visit.at]
    last = visit.at == ALL or not any(parts[visit.at + 1 :])
    # Of "a/*/", whose last part is empty, only folders are meant.
    only_folders = last and visit.at != ALL and visit.at + 1 < len(parts)
    if part == "**" and not last:
        yield replace(visit, at=visit.at + 1, marked=False)
    entries, has_mark = _entries(visit.path)
    # The folder that the walk began in was asked for.
    output = visit.output or (visit.name if has_mark and visit.name else None)
    for entry in entries:
        if part != "**" and not _matcher(part)(entry.name):
            continue
        name = f"{visit.name}/{entry.name}" if visit.name else entry.name
        is_link = entry.is_symlink()
        real = os.path.realpath(entry.path) if is_link else f"{visit.real.rstrip('/')}/{entry.name}"
        linked = visit.linked or is_link
        if _is(entry.is_dir):
            marked = last and _is_marked(entry.path, marks)
            if part == "**":
                yield _Visit(entry.path, name, real, visit.at, linked, visit.marked, output)
            elif not last:
                yield _Visit(entry.path, name, real, visit.at + 1, linked, output=output)
            if visit.at != ALL and last and (marked or only_folders or part != "**"):
                yield _Visit(entry.path, name, real, ALL, linked, marked, output)
        elif last and not only_folders and _is(entry.is_file):
            by: Literal["folder", "glob"] = "folder" if visit.at == ALL else "glob"
            size, changed = _state(entry)
            yield Found(entry.path, name, size, real, by, linked, visit.marked, output, changed)


def _entries(folder: str) -> tuple[list[os.DirEntry[str]], bool]:
    """What is in a folder and not hidden, in the order of names, and whether OUTPUT_MARK is; nothing if it is gone."""
    try:
        with os.scandir(folder or "/") as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return [], False
    shown = [entry for entry in found if not entry.name.startswith((".", "_"))]
    return shown, any(entry.name == OUTPUT_MARK for entry in found)


def _is(kind: Callable[[], bool]) -> bool:
    """Ask an entry what it is; a link that leads to itself is nothing."""
    try:
        return kind()
    except OSError:
        return False


def _state(entry: os.DirEntry[str]) -> tuple[int, Stamp]:
    """Size of a file, and when it was changed."""
    try:
        state = entry.stat()
    except OSError:
        return 0, None
    return state.st_size, state.st_mtime_ns


def _is_marked(folder: str, marks: Sequence[str]) -> bool:
    return any(Path(folder, mark).is_file() for mark in marks)


@lru_cache(maxsize=64)
def _matcher(part: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(glob_translate(part)).match
