"""What a format of files is: everything that differs from one to the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import pyarrow as pa

from pipelines.config.source import SourceConfig
from pipelines.hashing import Column
from pipelines.sources.files import FoundFile
from pipelines.sources.parts import Part
from pipelines.sources.plain_ids import NotPlainError, PlainIds
from pipelines.sources.records import READ_ERRORS, Record
from pipelines.sources.split import Split

# So many rows of a file are looked at for its columns where nothing else tells them.
SAMPLE_ROWS = 1000


@dataclass(frozen=True)
class Fields:
    """Which columns are id (None: made from the content), text, payload (None: all others) and image, if any.

    ``deleted`` is the column that marks deletions, if any.
    """

    id: str | None
    text: str
    payload: frozenset[str] | None
    image: str | None = None
    max_image_bytes: int = 0
    deleted: str | None = None

    @property
    def columns(self) -> frozenset[str] | None:
        """All columns to read; None for all there are."""
        named = {name for name in (self.id, self.text, self.image, self.deleted) if name is not None}
        return None if self.payload is None else self.payload | named


@dataclass(frozen=True)
class Outline:
    """What a file tells before its rows are read: the splits to read it in, and its columns (None: it does not)."""

    splits: tuple[Split, ...]
    columns: tuple[str, ...] | None = None


class Format:
    """One format of files. A subclass says what it is and how its records are read; its instances have no state.

    To add a format, write its class in a module of its own and name it in ``formats.py``.
    """

    # What source.format calls it.
    name: ClassVar[str]
    # What the names of its files end with, in small letters.
    endings: ClassVar[tuple[str, ...]] = ()
    # Names of files that a folder has which is one dataset of this format; see ``dataset_folders``.
    folder_marks: ClassVar[tuple[str, ...]] = ()
    # Whether .gz, .bz2 or .zst may follow the ending.
    is_compressible: ClassVar[bool] = False
    # Whether rows have the columns that the configuration names for id, text and image.
    is_table: ClassVar[bool] = True
    # Whether a file's first rows tell all of its columns.
    has_header: ClassVar[bool] = False
    # Whether a file is one document: its id is the file's name, which the payload has as ``path``.
    is_document: ClassVar[bool] = False
    # Whether a file is an image: a job that takes none, or whose rows name them, passes it over below a folder.
    is_image: ClassVar[bool] = False
    # Whether files are small and many, each of them a row, so that a split has many (``Split.files``).
    is_small: ClassVar[bool] = False
    # Whether rows have point ids already, so that they are neither cut nor named: ``identified`` gives them.
    is_identified: ClassVar[bool] = False
    # Whether rows may come and go while they are read, so that only reading tells how many there are.
    is_live: ClassVar[bool] = False
    # Whether its parts have columns.
    has_columns: ClassVar[bool] = False
    # What stands before a row's number in its origin: "row " makes ``docs.parquet:row 17``.
    mark: ClassVar[str] = ""

    def records(self, split: Split, config: SourceConfig) -> Iterator[Record]:
        """Read a split's records in order; raises READ_ERRORS where the rest of them cannot be read.

        Every format has it but those that are ``is_identified``.
        """
        raise NotImplementedError(f"rows of {self.name} are read as identified rows, or not at all")

    def parts(self, split: Split, config: SourceConfig) -> Iterator[Part]:
        """Read a split's rows in parts, as columns where the format ``has_columns``; raises READ_ERRORS as records do.

        A part is read before the next one is asked for.
        """
        yield Part(lambda: self.records(split, config))

    def identified(self, split: Split, config: SourceConfig, *, block_rows: int) -> Iterator[pa.Table]:
        """Read a split of a format that ``is_identified`` as tables of IDENTIFIED_SCHEMA with at most ``block_rows``.

        They have a column a vector besides where the source brings vectors. Never raises for data: a row that cannot
        be used has an error.
        """
        raise NotImplementedError(f"rows of {self.name} have no point ids")

    def outline(self, split: Split) -> Outline:
        """Look at a whole file without reading its rows, to cut it into splits; raises READ_ERRORS."""
        return Outline((split,), ("path",) if self.is_document else None)

    def columns(self, split: Split, config: SourceConfig) -> Iterable[str]:
        """Names of a file's columns, where its outline tells none; of what cannot be read there are none."""
        found: dict[str, None] = {}
        with suppress(*READ_ERRORS):
            for _, values, _ in islice(self.records(split, config), SAMPLE_ROWS):
                found.update(dict.fromkeys(values or ()))
        return found

    def notices(self, split: Split, config: SourceConfig) -> Sequence[str]:
        """Say what people should know of how a file is read, without its name; never raises for data."""
        return ()

    def image_column(self, named: str | None) -> str | None:
        """Column of the images of rows, if they may have any; ``named`` is the one that ``source.image`` names."""
        return named if self.is_table else None

    def fields(self, config: SourceConfig) -> Fields:
        """Choose the columns that become id, text, payload and image."""
        payload = None if config.payload == "all" else frozenset(config.payload)
        name, text = ("id", "text") if self.is_document else (config.id, config.text)
        deleted = config.deleted if self.is_table else None
        return Fields(name, text, payload, self.image_column(config.image), config.max_image_bytes, deleted)

    def dataset_folders(self, files: Sequence[FoundFile]) -> tuple[set[str], set[str]]:
        """Find folders each of which is one dataset of this format, whatever the endings of the files in it.

        Returns the names of the files that stand for a dataset each, and of the other files that datasets are made of.
        """
        return set(), set()

    def ids(self, split: Split, config: SourceConfig) -> Column | None:
        """Ids of all rows, where they can be had without the rows and none of these can be dead; else None.

        What is said of rows here does not cover images that turn out to be unusable. Never raises for data.
        """
        if not self.is_document:
            return None
        names = [file.name for file in split.files[: split.max_rows]] if split.files else [split.name]
        return pa.array(names, pa.string())

    def plain_ids(self, split: Split, config: SourceConfig) -> Iterator[PlainIds]:
        """Take the ids of all rows but blank ones, dead rows too, without reading the rows.

        ``source.id`` names the column. Raises NotPlainError where a row's id cannot be told so, and READ_ERRORS.
        """
        raise NotPlainError(f"rows of {self.name} must be read for their ids")

    def needs_payload(self, split: Split, config: SourceConfig) -> bool:
        """Tell whether a row's payload may make it dead, or its id, so that it is read where nobody asks for it.

        Never raises for data.
        """
        return True

    def count_documents(self, split: Split) -> int:
        """Count the documents of a split of a format that ``is_identified``; never raises for data."""
        return split.rows or 0

    def count_rows(self, split: Split) -> int | None:
        """Count the rows (or lines) of a part of a file, where later parts must be numbered by that; else None."""
        return None
