"""Which rows a folder of Parquet files held when a run began, and where: sorted 64-bit keys, 24 bytes a row.

With the texts' hashes by themselves, it is 40 bytes a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.identity import keys64
from pipelines.sinks.base import Held
from pipelines.sinks.parquet.files import FileRows, Keys, text_keys

_ROW_BITS = 32
# A file's name, and a row in the file.
Place: TypeAlias = tuple[str, int]


@dataclass(frozen=True)
class Places:
    """Sorted keys, and beside each the file's number, shifted by 32 bits, and the row in the file."""

    keys: Keys
    places: Keys

    @classmethod
    def of(cls, keys: Sequence[Keys], rows: Sequence[npt.NDArray[np.int64]]) -> Places:
        """Take the keys of files at these rows; a file without keys has none."""
        none = [np.empty(0, np.uint64)]
        taken = [(number, some) for number, some in enumerate(rows) if len(keys[number])]
        kept = np.concatenate([keys[number][some] for number, some in taken] or none)
        places = [np.uint64(number << _ROW_BITS) | some.astype(np.uint64) for number, some in taken]
        order = np.argsort(kept)
        return cls(kept[order], np.concatenate(places or none)[order])

    def find(self, keys: Keys) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        """Mark the keys that are in it, and say where."""
        return _found(self.keys, keys)


@dataclass(frozen=True)
class RowIndex:
    """Keys of the current rows.

    ``contents`` has a key of each row's id and content, sorted; ``texts`` of its id and text (of its content again
    where a file of an older version does not tell the text's hash), ``hashes`` of its text, where that was asked for.
    ``names`` are the files'.
    """

    contents: Keys
    texts: Places
    hashes: Places
    names: tuple[str, ...]

    @classmethod
    def of(cls, files: Sequence[FileRows], current: Mapping[str, npt.NDArray[np.bool_]]) -> RowIndex:
        """Make an index of the rows that are ``current``, by file name."""
        kept = [np.flatnonzero(current[file.name]) for file in files]
        contents = [file.keys[rows] for file, rows in zip(files, kept, strict=True)]
        return cls(
            np.sort(np.concatenate(contents or [np.empty(0, np.uint64)])),
            Places.of([file.texts for file in files], kept),
            Places.of([file.hashes for file in files], kept),
            tuple(file.name for file in files),
        )

    def codes(self, rows: pa.Table) -> npt.NDArray[np.uint8]:
        """Say what was held of rows with ``id`` and HASHES: one of ``Held`` a row, uint8."""
        codes = np.full(rows.num_rows, Held.LACKS, np.uint8)
        codes[self.texts.find(_keys(rows, "text_hash"))[0]] = Held.VECTORS
        codes[self.has(_keys(rows, "content_hash"))] = Held.SAME
        return codes

    def has(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Mark the keys of id and content that are in it."""
        return _found(self.contents, keys)[0]

    def places_of(self, rows: pa.Table) -> list[Place | None]:
        """Tell for each row in which file the vectors of its id and text were, and in which row of it."""
        places: list[Place | None] = [None] * rows.num_rows
        for name in ("content_hash", "text_hash"):
            self._find(self.texts, _keys(rows, name), places)
        return places

    def places_of_texts(self, rows: pa.Table) -> list[Place | None]:
        """Tell for each row in which file vectors of its text were, under any id, and in which row of it."""
        places: list[Place | None] = [None] * rows.num_rows
        self._find(self.hashes, text_keys(rows["text_hash"]), places)
        return places

    def _find(self, index: Places, keys: Keys, places: list[Place | None]) -> None:
        found, at = index.find(keys)
        for row in np.flatnonzero(found):
            place = int(index.places[at[row]])
            places[row] = self.names[place >> _ROW_BITS], place & ((1 << _ROW_BITS) - 1)


def _keys(rows: pa.Table, name: str) -> Keys:
    # Of a text whose hash is null nothing is known but with its payload.
    return keys64(rows["id"], pc.coalesce(rows[name], rows["content_hash"]))


def _found(index: Keys, keys: Keys) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Mark the keys that a sorted index has, and say where."""
    if not len(index):
        return np.zeros(len(keys), np.bool_), np.zeros(len(keys), np.int64)
    at = np.minimum(np.searchsorted(index, keys), len(index) - 1)
    return index[at] == keys, at
