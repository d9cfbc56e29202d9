"""The commit of a write to a folder of Parquet files: staged files take their places, and others leave, all of them.

What is to be done is written down first. A process that dies in the middle leaves that list, and the next write to the
folder completes it.
"""

from __future__ import annotations

import json
import os
import posixpath
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from pipelines.errors import SinkError
from pipelines.filesystem import TEMPORARY, read_file, write_file

JOURNAL = "_commit.json"
# Readers that go into each folder, and take each Parquet file, shall not take a staged one for a part of the data.
STAGED = ".staged"
# So old is what a write left that neither failed nor came to its end.
FORGOTTEN_SECONDS = 7 * 24 * 3600.0


def staging_of(folder: str, run: str) -> str:
    """Name the folder in which a write puts its files until they are committed; readers pass over it."""
    return f"{folder}/{TEMPORARY}/{run}"


def staged_path(folder: str, run: str, name: str) -> str:
    """Tell where a write has a file until it is committed."""
    return f"{staging_of(folder, run)}/{name}{STAGED}"


def stage(filesystem: fs.FileSystem, path: str, data: pa.Buffer) -> None:
    """Write a file that nobody reads yet, so that it lasts."""
    if not isinstance(filesystem, fs.LocalFileSystem):
        write_file(filesystem, path, data)
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def commit(filesystem: fs.FileSystem, folder: str, run: str, names: Sequence[str], leaving: Sequence[str]) -> None:
    """Put staged files of these ``names`` into the folder, and take the ``leaving`` ones out of it."""
    journal = {"names": list(names), "leaving": [name for name in leaving if name not in set(names)]}
    staging = staging_of(folder, run)
    write_file(filesystem, f"{staging}/{JOURNAL}", pa.py_buffer(json.dumps(journal).encode()))
    _carry_out(filesystem, folder, staging, journal)


def complete_others(filesystem: fs.FileSystem, folder: str) -> list[str]:
    """Complete the commits that were interrupted in a folder, and remove what was forgotten; returns the former."""
    found = filesystem.get_file_info(fs.FileSelector(f"{folder}/{TEMPORARY}", allow_not_found=True))
    completed = []
    for staging in (info.path for info in found if info.type == fs.FileType.Directory):
        with suppress(FileNotFoundError):
            inside = filesystem.get_file_info(fs.FileSelector(staging, allow_not_found=True))
            if any(info.base_name == JOURNAL for info in inside):
                journal = _read_journal(filesystem, f"{staging}/{JOURNAL}")
                _carry_out(filesystem, folder, staging, journal)
                completed.append(posixpath.basename(staging))
            elif inside and all(_age(info) > FORGOTTEN_SECONDS for info in inside):
                discard(filesystem, folder, posixpath.basename(staging))
    return completed


def is_begun(filesystem: fs.FileSystem, folder: str, run: str) -> bool:
    """Tell whether a write's commit was begun, and is not over."""
    return bool(filesystem.get_file_info(f"{staging_of(folder, run)}/{JOURNAL}").is_file)


def discard(filesystem: fs.FileSystem, folder: str, run: str) -> None:
    """Remove what a write staged, and the folder of all of these, if it is empty then."""
    staging = staging_of(folder, run)
    if filesystem.get_file_info(staging).type == fs.FileType.Directory:
        filesystem.delete_dir(staging)
    if isinstance(filesystem, fs.LocalFileSystem):
        with suppress(OSError):
            Path(folder, TEMPORARY).rmdir()
        return
    # Stores keep a mark of a folder that had something in it.
    found = filesystem.get_file_info(fs.FileSelector(f"{folder}/{TEMPORARY}", allow_not_found=True, recursive=True))
    if not any(info.is_file for info in found):
        with suppress(FileNotFoundError):
            filesystem.delete_dir(f"{folder}/{TEMPORARY}")


def _read_journal(filesystem: fs.FileSystem, path: str) -> dict[str, list[str]]:
    """Read what a commit was to do; raises SinkError for what no write has left, such as names of other folders."""
    try:
        journal = json.loads(read_file(filesystem, path))
        names = [*journal["names"], *journal["leaving"]]
        is_sound = all(isinstance(name, str) and name == posixpath.basename(name) for name in names)
    except (ValueError, TypeError, KeyError):
        is_sound = False
    if not is_sound:
        raise SinkError(
            f"{path} is no list of files that a write was to commit; see whether {posixpath.dirname(path)} has files "
            "that you miss, and remove it"
        )
    return {key: journal[key] for key in ("names", "leaving")}


def _carry_out(filesystem: fs.FileSystem, folder: str, staging: str, journal: Mapping[str, Sequence[str]]) -> None:
    for name in journal["names"]:
        # Older versions staged files by the names that they were to have.
        paths = (f"{staging}/{name}{STAGED}", f"{staging}/{name}")
        staged = next((path for path in paths if filesystem.get_file_info(path).is_file), None)
        if staged is None:
            continue
        try:
            filesystem.move(staged, f"{folder}/{name}")
        except FileNotFoundError:
            # A store that was asked twice, as its first answer was lost, has moved it.
            if not filesystem.get_file_info(f"{folder}/{name}").is_file:
                raise
    for name in journal["leaving"]:
        if filesystem.get_file_info(f"{folder}/{name}").is_file:
            filesystem.delete_file(f"{folder}/{name}")
    discard(filesystem, folder, posixpath.basename(staging))


def _age(info: fs.FileInfo) -> float:
    return 0.0 if info.mtime is None else time.time() - info.mtime.timestamp()
