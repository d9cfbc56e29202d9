"""Which rows of a folder of Parquet files are current, in memory that does not grow with them.

Every run has a generation, one above the highest it found. Where two rows have one id, the row of the higher
generation is current (in one generation that of the later file name, in one file the later row); where the newest
last chunk of a document is chunk n, its chunks past n of older generations are not.

Rows are compared by hashes, those of one range of them at a time. Past ROWS_IN_MEMORY they wait in temporary files, of
16 bytes a row, and 24 more for chunks. What is kept of each row is a bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from pipelines.sinks.parquet.files import FileRows, Keys

ROWS_IN_MEMORY = 1 << 18
PART_BITS = 8
# A row by the hash of its id, or of its document: the number of its file, and its position there.
_ROW = np.dtype([("key", np.uint64), ("file", np.uint32), ("row", np.uint32)])
_CHUNK = np.dtype([*_ROW.descr, ("chunk_no", np.int32), ("is_last", np.int32)])
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


class CurrentRows(Mapping[str, Mask]):
    """Masks of files' rows that are current, by file name, in the order of generations and names."""

    def __init__(self, rows: Mapping[str, int]) -> None:
        self._rows = rows
        sizes = [-(-count // 8) * 8 for count in rows.values()]
        self._starts: dict[str, int] = dict(zip(rows, np.cumsum([0, *sizes]).tolist(), strict=False))
        # A bit a row, set for those that are not current; each file begins with a byte.
        self._bits = np.zeros(sum(sizes) // 8, np.uint8)

    def __getitem__(self, name: str) -> Mask:
        start, rows = self._starts[name], self._rows[name]
        current: Mask = np.unpackbits(self._bits[start // 8 : -(-(start + rows) // 8)], count=rows) == 0
        return current

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def start(self, name: str) -> int:
        """Give the place of a file's first row, where those of a later one are higher."""
        return self._starts[name]

    def leave_out(self, places: Places) -> None:
        """Take rows, by their places, from those that are current."""
        np.bitwise_or.at(self._bits, places >> 3, (128 >> (places & 7)).astype(np.uint8))

    def are_current(self, places: Places) -> Mask:
        """Mark the places whose rows are current."""
        current: Mask = self._bits[places >> 3] & (128 >> (places & 7)) == 0
        return current


@dataclass(frozen=True)
class _File:
    """A file that was added: what ranks it, and how many rows it has."""

    generation: int
    name: str
    rows: int


class RowRanks:
    """Takes the rows of files, each file once, and tells which of them are current among those of some files."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._files: list[_File] = []
        self._ids, self._chunks = _Spool(_ROW), _Spool(_CHUNK)

    def __contains__(self, name: object) -> bool:
        return name in self._numbers

    def add(self, file: FileRows) -> None:
        """Take the rows of a file."""
        number = self._numbers[file.name] = len(self._files)
        self._files.append(_File(file.generation, file.name, len(file.ids)))
        self._ids.add(_numbered(_ROW, file.ids, number))
        if len(file.documents):
            chunks = _numbered(_CHUNK, file.documents, number)
            chunks["chunk_no"], chunks["is_last"] = file.chunk_no, file.chunk_no + 1 == file.chunk_count
            self._chunks.add(chunks)

    def current(self, names: Sequence[str]) -> CurrentRows:
        """Mark the rows of the files of these names, all of which were added; see the module's text for the rule."""
        files = sorted((self._files[self._numbers[name]] for name in names), key=lambda its: (its.generation, its.name))
        current = CurrentRows({file.name: file.rows for file in files})
        # By numbers: -1 for a file that is not among them.
        starts = np.full(len(self._files), -1, np.int64)
        for file in files:
            starts[self._numbers[file.name]] = current.start(file.name)
        for rows in self._ids.parts():
            rows, places = _placed(rows, starts)
            current.leave_out(places[:-1][rows["key"][:-1] == rows["key"][1:]])
        generations = np.array([file.generation for file in self._files], np.int64)
        for rows in self._chunks.parts():
            rows, places = _placed(rows, starts)
            current.leave_out(places[_past_the_end(rows, generations[rows["file"]], current.are_current(places))])
        return current

    def having(self, ids: Keys) -> list[str]:
        """Names of the files that have rows of one of these hashes."""
        found = [np.unique(rows["file"][np.isin(rows["key"], ids)]) for rows in self._ids.parts()]
        return [self._files[number].name for number in np.unique(np.concatenate(found)).tolist()]


def _numbered(kind: np.dtype[Any], keys: Keys, file: int) -> npt.NDArray[Any]:
    rows = np.empty(len(keys), kind)
    rows["key"], rows["file"], rows["row"] = keys, file, np.arange(len(keys))
    return rows


def _placed(rows: npt.NDArray[Any], starts: Places) -> tuple[npt.NDArray[Any], Places]:
    """Choose the rows of files that have a place, sort them by hash and place, and give the places."""
    rows = rows[starts[rows["file"]] >= 0]
    places = starts[rows["file"]] + rows["row"]
    order = np.lexsort((places, rows["key"]))
    return rows[order], places[order]


def _past_the_end(rows: npt.NDArray[Any], generation: Places, current: Mask) -> Mask:
    """Mark chunks behind their document's newest last chunk, where that one is of a newer generation."""
    ends = np.flatnonzero((rows["is_last"] == 1) & current)
    if not len(ends):
        return np.zeros(len(rows), np.bool_)
    keys = rows["key"][ends]
    ends = ends[np.append(keys[:-1] != keys[1:], True)]
    end = ends[np.minimum(np.searchsorted(rows["key"][ends], rows["key"]), len(ends) - 1)]
    past: Mask = (
        (rows["key"][end] == rows["key"]) & (rows["chunk_no"] > rows["chunk_no"][end]) & (generation < generation[end])
    )
    return past


class _Spool:
    """Rows that wait to be read by ranges of their keys, on disk where they are many."""

    def __init__(self, kind: np.dtype[Any]) -> None:
        self._kind = kind
        self._waiting: list[npt.NDArray[Any]] = []
        self._count = 0
        self._file: IO[bytes] | None = None
        # Of each batch on disk, where the rows of each part begin, and where the last ones end.
        self._cuts: list[npt.NDArray[np.int64]] = []

    def add(self, rows: npt.NDArray[Any]) -> None:
        self._waiting.append(rows)
        self._count += len(rows)
        if self._count >= ROWS_IN_MEMORY:
            self._write()

    def _write(self) -> None:
        rows = np.concatenate(self._waiting)
        self._waiting, self._count = [], 0
        part = (rows["key"] >> np.uint64(64 - PART_BITS)).astype(np.uint8)
        order = np.argsort(part, kind="stable")
        if self._file is None:
            self._file = TemporaryFile(prefix="fleetembed-rows-")  # noqa: SIM115
        start = self._cuts[-1][-1] if self._cuts else 0
        self._cuts.append(start + np.append(0, np.cumsum(np.bincount(part, minlength=1 << PART_BITS))))
        self._file.seek(int(start) * self._kind.itemsize)
        self._file.write(rows[order].data)

    def parts(self) -> Iterator[npt.NDArray[Any]]:
        """Give the rows in parts, all of one key in one of them."""
        if self._file is None:
            yield np.concatenate([np.empty(0, self._kind), *self._waiting])
            return
        if self._waiting:
            self._write()
        for part in range(1 << PART_BITS):
            yield np.concatenate([self._read(int(cuts[part]), int(cuts[part + 1])) for cuts in self._cuts])

    def _read(self, start: int, stop: int) -> npt.NDArray[Any]:
        assert self._file is not None
        self._file.seek(start * self._kind.itemsize)
        return np.frombuffer(self._file.read((stop - start) * self._kind.itemsize), self._kind)
