"""Folders that Hugging Face's ``Dataset.save_to_disk`` and ``DatasetDict.save_to_disk`` write.

The layout is that of arrow_dataset.py and dataset_dict.py in https://github.com/huggingface/datasets (1.9.0, 5.2.0).

- A dataset's folder has ``dataset_info.json`` and ``state.json``, whose ``_data_files`` names Arrow streams of rows.
- In folders that 1.x wrote, ``_indices_data_files`` may name a stream with one column of row numbers: the rows that the
  dataset has. What neither names, such as ``cache-*.arrow``, is no part of it.
- The folder of a DatasetDict has ``dataset_dict.json``, whose ``splits`` are the names of the folders of its datasets.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.config.source import SourceConfig
from pipelines.errors import SourceError
from pipelines.sources.arrow_ipc import outline, read_parts, read_stream
from pipelines.sources.base import Format, Outline
from pipelines.sources.files import FoundFile, filesystem_of
from pipelines.sources.parts import Part, all_records
from pipelines.sources.records import READ_ERRORS, Record, UnreadableFileError
from pipelines.sources.split import Split

STATE = "state.json"
INFO = "dataset_info.json"
SPLITS = "dataset_dict.json"


class HuggingFace(Format):
    """Datasets as they were saved to disk; ``state.json`` stands for one, and each of its files is a split."""

    name = "huggingface"
    folder_marks = (STATE, SPLITS)
    has_columns = True
    mark = "row "

    def dataset_folders(self, files: Sequence[FoundFile]) -> tuple[set[str], set[str]]:
        """Find datasets, alone and in a DatasetDict; raises SourceError where one of the latter is not there."""
        folders: dict[str, dict[str, FoundFile]] = {
            posixpath.dirname(file.name): {} for file in files if posixpath.basename(file.name) in self.folder_marks
        }
        for file in files if folders else ():
            folder, base = posixpath.split(file.name)
            if folder in folders:
                folders[folder][base] = file
        datasets = {folder for folder, inside in folders.items() if _is_dataset(inside)}
        parts = {
            file.name
            for folder in datasets
            for base, file in folders[folder].items()
            if base in (STATE, INFO) or base.endswith(".arrow")
        }
        for folder, listing in [(folder, inside[SPLITS]) for folder, inside in folders.items() if SPLITS in inside]:
            below = {name for name in datasets if name != folder and posixpath.dirname(name) == folder}
            if below:
                parts.add(listing.name)
                datasets -= below - _splits(listing, below)
        heads = {folders[folder][STATE].name for folder in datasets}
        return heads, parts - heads

    def outline(self, split: Split) -> Outline:
        """Read ``state.json``: one split a data file, but a single one where a file of indices chooses the rows."""
        data, indices = _state(split)
        pieces = _pieces(split, data)
        columns = _columns(pieces)
        if not indices:
            return Outline(tuple(pieces), columns)
        name = posixpath.dirname(split.name) or posixpath.basename(posixpath.dirname(split.path))
        size = sum(piece.bytes for piece in pieces)
        return Outline((replace(split, name=name, bytes=size),), columns)

    def records(self, split: Split, config: SourceConfig) -> Iterator[Record]:
        """Read one data file, or all of them where there are indices."""
        columns = self.fields(config).columns
        if posixpath.basename(split.path) != STATE:
            return all_records(read_parts(split, columns))
        return _chosen_rows(split, columns)

    def parts(self, split: Split, config: SourceConfig) -> Iterator[Part]:
        """Read one data file by columns, or all of them by rows where there are indices."""
        if posixpath.basename(split.path) != STATE:
            return read_parts(split, self.fields(config).columns)
        return super().parts(split, config)


def _is_dataset(inside: dict[str, FoundFile]) -> bool:
    if not inside.keys() >= {STATE, INFO}:
        return False
    # A glob that matches the folder's JSON alone asks for that.
    return inside[STATE].by != "glob" or any(base.endswith(".arrow") for base in inside)


def _splits(file: FoundFile, below: set[str]) -> set[str]:
    """Folders of the splits that ``dataset_dict.json`` names, all of which must be among those that are there."""
    folder = posixpath.dirname(file.name)
    try:
        names = _read_json(file.root, file.path)["splits"]
        named = {posixpath.join(folder, name) for name in names}
    except (*READ_ERRORS, KeyError, TypeError) as error:
        raise SourceError(f"source.path: {file.path} does not name the splits of a dataset: {error}") from None
    missing = sorted(named - below)
    if missing:
        raise SourceError(
            f"source.path: {file.path} names the split {posixpath.basename(missing[0])!r}, of which there is no whole "
            "folder; copy it there, or name the folders of the other splits"
        )
    return named


def _state(split: Split) -> tuple[list[str], list[str]]:
    """Names of the files of rows and of indices."""
    state = _read_json(split.root, split.path)
    if "_data_files" not in state:
        raise UnreadableFileError("it names no _data_files")
    return _names(state, "_data_files"), _names(state, "_indices_data_files")


def _names(state: dict[str, Any], key: str) -> list[str]:
    try:
        entries = [(str(entry["filename"]), entry.get("skip"), entry.get("take")) for entry in state.get(key) or ()]
    except (KeyError, TypeError, AttributeError):
        raise UnreadableFileError(f"{key} is no list of file names") from None
    for name, skip, take in entries:
        if posixpath.basename(name) != name:
            raise UnreadableFileError(f"{key} names {name!r}, which is no file of this folder")
        # Early versions kept which part of a file a dataset was made of.
        if skip or take not in (None, -1):
            raise UnreadableFileError(f"{key} names a part of {name!r}; load it and save it again")
    return [name for name, _, _ in entries]


def _read_json(root: str, path: str) -> dict[str, Any]:
    with filesystem_of(root).open_input_stream(path) as file:
        content = file.read()
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UnreadableFileError(f"it is no JSON: {error}") from None
    if not isinstance(values, dict):
        raise UnreadableFileError(f"it is a {type(values).__name__}, not an object")
    return values


def _pieces(split: Split, names: Sequence[str]) -> list[Split]:
    """Make a split of each file beside ``state.json``."""
    paths = [posixpath.join(posixpath.dirname(split.path), name) for name in names]
    infos = filesystem_of(split.root).get_file_info(paths)
    folder = posixpath.dirname(split.name)
    return [
        replace(split, path=path, name=posixpath.join(folder, name), bytes=info.size or 0)
        for path, name, info in zip(paths, names, infos, strict=True)
    ]


def _columns(pieces: Sequence[Split]) -> tuple[str, ...]:
    """Columns of the first file that can be read."""
    for piece in pieces:
        with suppress(*READ_ERRORS):
            return outline(piece).columns or ()
    return ()


def _chosen_rows(split: Split, columns: frozenset[str] | None) -> Iterator[Record]:
    """Read the rows that the indices choose, in the order of the data files, and as often as they choose them."""
    data, indices = _state(split)
    wanted = _sorted_indices(_pieces(split, indices))
    chosen = first = 0
    for piece in _pieces(split, data):
        rows, damaged = 0, False
        for position, values, error in all_records(read_parts(piece, columns)):
            if position is None:
                damaged = True
                yield position, values, error
                continue
            if damaged and position == rows:
                break
            damaged = False
            while chosen < len(wanted) and wanted[chosen] == first + position:
                yield chosen, values, None
                chosen += 1
            rows = position + 1
        if damaged and chosen < len(wanted):
            raise UnreadableFileError(
                f"its indices choose rows by number, which no row has behind what is damaged of {piece.name}"
            )
        first += rows
    if chosen < len(wanted):
        raise UnreadableFileError(f"its indices name row {wanted[chosen]}, but its files have {first} rows")


def _sorted_indices(pieces: Sequence[Split]) -> npt.NDArray[np.int64]:
    columns = [np.zeros(0, np.int64)]
    for piece in pieces:
        for batch in read_stream(piece):
            batch.validate(full=True)
            if batch.num_columns != 1 or not pa.types.is_integer(batch.schema.types[0]) or batch.column(0).null_count:
                raise UnreadableFileError(f"{piece.name} is no column of row numbers")
            columns.append(batch.column(0).to_numpy().astype(np.int64))
    return np.sort(np.concatenate(columns))
