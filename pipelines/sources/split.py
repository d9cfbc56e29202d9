"""A split: the piece of a source that one worker reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from more_itertools import constrained_batches
from pydantic import SecretStr

from pipelines.hashing import join
from pipelines.sources.files import FoundFile
from pipelines.sources.partitions import Partitions
from pipelines.urls import Place

if TYPE_CHECKING:
    from pipelines.sources.base import Format
    from pipelines.sources.vectors.files import Content

# Files are cut, and small ones put together, so that a split has about so many bytes.
SPLIT_BYTES = 64 << 20
FILES_A_SPLIT = 500


@dataclass(frozen=True)
class PointRange:
    """Points of a collection whose ids are in a range, in Qdrant's order of ids.

    ``collection`` is its name, never an alias. ``start`` is the first id and ``stop`` the first one behind the range,
    as text; None where the range is open. ``filter`` is Qdrant's, as JSON. ``key`` opens the server. ``content`` tells
    of the vectors, where they are read too.
    """

    collection: str
    start: str | None = None
    stop: str | None = None
    filter: str | None = None
    key: SecretStr | None = None
    content: Content | None = None


@dataclass(frozen=True)
class Split:
    """A whole file, a part of one, a number of small files, or a range of a collection's points.

    ``root`` is the path or URL under which the file was found and tells its file system, ``path`` the file inside
    of that, ``name`` what rows' origins call it, ``format`` the name of its format. ``start`` and ``stop`` are numbers
    of bytes, row groups or whatever else the format cuts files at; ``stop`` None is the end. ``first_row`` is the
    number, from 1, of the first row (or line) within the file; None where nobody has counted yet (see
    ``number_lines``). ``bytes`` is the size in the file, ``rows`` is None where only reading would tell, ``max_rows``
    cuts the split off. Where a split has many small files, ``files``, each of them is a row; path and name are the
    first one's. ``partitions`` are columns that the names of its folders have; see ``partitions.py``. Of a collection,
    ``points`` are the range, ``root`` is the server's URL or the folder, and ``bytes`` and ``rows`` are estimates.
    Where rows lie in several folders, ``joined`` are the files of each, those of the first in full.
    """

    root: str
    path: str
    name: str
    format: str
    bytes: int
    start: int = 0
    stop: int | None = None
    first_row: int | None = 1
    rows: int | None = None
    max_rows: int | None = None
    files: tuple[FoundFile, ...] = ()
    partitions: Partitions = ()
    points: PointRange | None = None
    joined: tuple[tuple[FoundFile, ...], ...] = ()

    def origin(self, position: int | None) -> str:
        """Say where a record is: ``docs.jsonl:17``, ``docs.parquet:row 17``, ``a.tar:sample 17`` or the file's name.

        A row of a part whose first row has no number yet is ``docs.jsonl@67108864:17``, counted from where it starts.
        """
        return self.origins([position])[0]

    def origins(self, positions: Sequence[int | None]) -> list[str]:
        """Say where records are, as ``origin`` does."""
        if self.files:
            return [self.name if position is None else self.files[position].name for position in positions]
        if self._format.is_document:
            return [self.name] * len(positions)
        before, first = self._numbering
        return [self.name if position is None else f"{before}{first + position}" for position in positions]

    def column_of_origins(self, positions: npt.NDArray[np.int64]) -> pa.Array:
        """Say where rows of a file of many rows are, as ``origin`` does."""
        before, first = self._numbering
        return join(pa.scalar(before), pa.array(positions + first).cast(pa.string()))

    @property
    def _numbering(self) -> tuple[str, int]:
        """What stands before a row's number in its origin, and the number of the first."""
        place = self.name if self.first_row is not None else f"{self.name}@{self.start}"
        return f"{place}:{self._format.mark}", self.first_row or 1

    @property
    def _format(self) -> Format:
        # The formats import this module.
        from pipelines.sources.formats import format_named

        return format_named(self.format)


def whole_file(file: FoundFile, format_name: str) -> Split:
    """Make the split of a whole file."""
    return Split(file.root, file.path, file.name, format_name, file.bytes)


def group_files(files: Iterable[FoundFile], format_name: str) -> Iterator[Split]:
    """Put neighbouring small files together: a million of them are not a million splits."""
    for group in constrained_batches(files, SPLIT_BYTES, FILES_A_SPLIT, get_len=attrgetter("bytes"), strict=False):
        size = sum(file.bytes for file in group)
        yield replace(whole_file(group[0], format_name), bytes=size, rows=len(group), files=group)


@dataclass(frozen=True)
class PlannedCollection:
    """A collection that is read: its ``name``, which no alias is, its ``aliases``, and its server or folder.

    ``title`` is for people to read. ``points`` are those that are read, counted when that was planned. ``chunked``
    tells that points are chunks of documents, ``with_vectors`` that their vectors are read too.
    """

    title: str
    name: str
    aliases: frozenset[str]
    points: int
    chunked: bool
    url: str | None = None
    path: str | None = None
    with_vectors: bool = False


@dataclass(frozen=True)
class PlannedRows:
    """What is read from memory, or by Ray: its title for people to read, rows, bytes in memory, and columns.

    What is None is known once it is read.
    """

    title: str
    rows: int | None = None
    bytes: int | None = None
    columns: tuple[str, ...] | None = None


@dataclass(frozen=True)
class SourcePlan:
    """All splits of a source in their fixed order, and what is left out of it.

    ``skipped_files`` are of unknown kind, ``own_files`` are those that the job writes itself, ``unnamed_files`` have
    names that are not UTF-8. ``notices`` say what people should know of it. ``collection`` or ``data`` is what is read
    in the place of files; data that Ray has yet to read has no splits. ``listed`` are the files that documents come
    from, by their places, as they were when it was planned; empty where rows bring their ids. ``unmarked`` is what
    ``check_columns`` says where the column of deletions was not found.
    """

    splits: tuple[Split, ...]
    skipped_files: int = 0
    own_files: int = 0
    unnamed_files: int = 0
    notices: tuple[str, ...] = ()
    collection: PlannedCollection | None = None
    data: PlannedRows | None = None
    listed: Mapping[Place, FoundFile] = field(default_factory=dict, compare=False, repr=False)
    unmarked: str | None = None

    @property
    def files(self) -> int:
        """How many files the splits are of; a collection is none, nor is what is in memory."""
        if self.collection is not None or self.data is not None:
            return 0
        return len(
            {split.path for split in self.splits if not split.files and not split.joined}
            | {file for split in self.splits for files in split.joined for file in files}
            | {file for split in self.splits for file in split.files}
        )

    @property
    def of_chunks(self) -> bool:
        """Whether its rows are chunks of documents already."""
        return self.collection is not None and self.collection.chunked

    @property
    def copied_from(self) -> str | None:
        """The collection whose points are embedded anew, by its name; None where files are read, or vectors copied."""
        return None if self.collection is None or self.collection.with_vectors else self.collection.name

    @property
    def bytes(self) -> int:
        """How many bytes they have, compressed as they are."""
        return sum(split.bytes for split in self.splits)
