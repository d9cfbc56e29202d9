"""Which rows a folder of Parquet files held when a run began, and where: sorted 64-bit keys, 24 bytes a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.identity import keys64
from pipelines.sinks.base import Held
from pipelines.sinks.parquet.files import FileRows, Keys

_ROW_BITS = 32


@dataclass(frozen=True)
class RowIndex:
    """Keys of the current rows, sorted.

    ``contents`` has a key of each row's id and content, ``texts`` of its id and text (of its content again where a
    file of an older version does not tell the text's hash). ``places`` lies beside ``texts``: the file's number in
    ``names``, shifted by 32 bits, and the row in the file.
    """

    contents: Keys
    texts: Keys
    places: Keys
    names: tuple[str, ...]

    @classmethod
    def of(cls, files: Sequence[FileRows], current: Mapping[str, npt.NDArray[np.bool_]]) -> RowIndex:
        """Make an index of the rows that are ``current``, by file name."""
        kept = [np.flatnonzero(current[file.name]) for file in files]
        none = [np.empty(0, np.uint64)]
        contents = np.concatenate([file.keys[rows] for file, rows in zip(files, kept, strict=True)] or none)
        texts = np.concatenate([file.texts[rows] for file, rows in zip(files, kept, strict=True)] or none)
        places = [np.uint64(number << _ROW_BITS) | rows.astype(np.uint64) for number, rows in enumerate(kept)]
        order = np.argsort(texts)
        return cls(
            np.sort(contents), texts[order], np.concatenate(places or none)[order], tuple(file.name for file in files)
        )

    def codes(self, rows: pa.Table) -> npt.NDArray[np.uint8]:
        """Say what was held of rows with ``id`` and HASHES: one of ``Held`` a row, uint8."""
        codes = np.full(rows.num_rows, Held.LACKS, np.uint8)
        codes[_found(self.texts, _keys(rows, "text_hash"))[0]] = Held.VECTORS
        codes[self.has(_keys(rows, "content_hash"))] = Held.SAME
        return codes

    def has(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Mark the keys of id and content that are in it."""
        return _found(self.contents, keys)[0]

    def places_of(self, rows: pa.Table) -> list[tuple[str, int] | None]:
        """Tell for each row in which file the vectors of its id and text were, and in which row of it."""
        places: list[tuple[str, int] | None] = [None] * rows.num_rows
        for name in ("content_hash", "text_hash"):
            found, at = _found(self.texts, _keys(rows, name))
            for row in np.flatnonzero(found):
                place = int(self.places[at[row]])
                places[row] = self.names[place >> _ROW_BITS], place & ((1 << _ROW_BITS) - 1)
        return places


def _keys(rows: pa.Table, name: str) -> Keys:
    # Of a text whose hash is null nothing is known but with its payload.
    return keys64(rows["id"].to_pylist(), pc.coalesce(rows[name], rows["content_hash"]).to_pylist())


def _found(index: Keys, keys: Keys) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Mark the keys that a sorted index has, and say where."""
    if not len(index):
        return np.zeros(len(keys), np.bool_), np.zeros(len(keys), np.int64)
    at = np.minimum(np.searchsorted(index, keys), len(index) - 1)
    return index[at] == keys, at
