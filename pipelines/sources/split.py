"""A split: the piece of a source that one worker reads; and the records that come out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.rows import RowError

Format = Literal["parquet", "jsonl", "csv", "text", "image", "webdataset"]
STAGE = "read"
_MARKS = {"parquet": "row ", "webdataset": "sample "}

# (position in the split from 0, values by column, error). One of values and error is None. The position is None
# where the record stands for rows that cannot be read at all.
Record = tuple[int | None, dict[str, Any] | None, RowError | None]


@dataclass(frozen=True)
class Undecodable:
    """Stands for a value that Python cannot hold; says why."""

    reason: str


@dataclass(frozen=True)
class Oversized:
    """Stands for content that is too large to be read; says what it is."""

    what: str


@dataclass(frozen=True)
class ImageFile:
    """One image file of a source: where it is (see Split), its name, and its size in bytes."""

    root: str
    path: str
    name: str
    bytes: int


@dataclass(frozen=True)
class Split:
    """A whole file, a range of one, or a number of image files.

    ``root`` is the path or URL under which the file was found and tells its file system, ``path`` the file inside
    of that, ``name`` what rows' origins call it. ``start`` and ``stop`` are bytes (JSONL: the lines that begin in
    that range) or row groups (Parquet); ``stop`` None is the end. ``first_row`` is the number, from 1, of the first
    line or row within the file; None where nobody has counted yet (see ``number_lines``). ``bytes`` is the size in
    the file, ``rows`` is None where only reading would tell, ``max_rows`` cuts the split off. Image files are many and
    small, so that one split has many of them: ``files``, each of which is a row; path and name are the first one's.
    """

    root: str
    path: str
    name: str
    format: Format
    bytes: int
    start: int = 0
    stop: int | None = None
    first_row: int | None = 1
    rows: int | None = None
    max_rows: int | None = None
    files: tuple[ImageFile, ...] = ()

    def holds_images(self, column: str | None) -> bool:
        """Whether rows of this split may have images; ``column`` is the one that ``source.image`` names."""
        return self.format in ("image", "webdataset") or (column is not None and self.format != "text")

    def origin(self, position: int | None) -> str:
        """Say where a record is: ``docs.jsonl:17``, ``docs.parquet:row 17``, ``a.tar:sample 17`` or the file's name.

        A line of a range whose first line has no number yet is ``docs.jsonl@67108864:17``, counted from that byte.
        """
        if position is None or self.format == "text":
            return self.name
        if self.files:
            return self.files[position].name
        if self.first_row is None:
            return f"{self.name}@{self.start}:{1 + position}"
        mark = _MARKS.get(self.format, "")
        return f"{self.name}:{mark}{self.first_row + position}"

    def origins(self, positions: Sequence[int | None]) -> list[str]:
        """Say where records are, as ``origin`` does."""
        if self.files or self.format == "text" or self.first_row is None or None in positions:
            return [self.origin(position) for position in positions]
        start, first = self.origin(0).removesuffix(str(self.first_row)), self.first_row
        return [f"{start}{first + (position or 0)}" for position in positions]


@dataclass(frozen=True)
class SourcePlan:
    """All splits of a source in their fixed order, and how many files of unknown kind were passed over."""

    splits: tuple[Split, ...]
    skipped_files: int = 0

    @property
    def files(self) -> int:
        """How many files the splits are of."""
        return len(
            {split.path for split in self.splits if not split.files}
            | {file for split in self.splits for file in split.files}
        )

    @property
    def bytes(self) -> int:
        """How many bytes they have, compressed as they are."""
        return sum(split.bytes for split in self.splits)


def unreadable(what: str, reason: BaseException, loss: str) -> Record:
    """Make the record that stands for rows nobody can read."""
    message = f"{what}: {str(reason)[:300] or type(reason).__name__}; {loss}"
    return None, None, RowError(STAGE, "UnreadableFile", message)
