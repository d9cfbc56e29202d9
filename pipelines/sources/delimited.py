"""CSV and TSV files."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from more_itertools import rstrip

from pipelines.config.source import SourceConfig
from pipelines.rows import RowError
from pipelines.sources.base import Format
from pipelines.sources.csv_ids import plain_csv_ids
from pipelines.sources.csv_lines import CsvLines
from pipelines.sources.lines import CHUNK_BYTES, MAX_LINE_BYTES, read_chunks, without_compression
from pipelines.sources.parts import COLUMN_ROWS, Column, Columns, Part, all_records
from pipelines.sources.plain_ids import NotPlainError, PlainIds
from pipelines.sources.records import READ_ERRORS, STAGE, Record, UnreadableFileError
from pipelines.sources.split import Split

if TYPE_CHECKING:
    from _csv import Reader

# A row of its own unless a quote is still open at the end of the file. Noncharacters, which neither real text holds nor
# any delimiter is.
_END = "\ufdd0\ufdd1\ufdd0"
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


class Csv(Format):
    """CSV with a header; ``.tsv`` is separated by tabs unless ``source.delimiter`` says otherwise."""

    name = "csv"
    has_header = True
    endings = (".csv", ".tsv")
    is_compressible = True
    has_columns = True

    def columns(self, split: Split, config: SourceConfig) -> Iterable[str]:
        """Names in the header."""
        with suppress(*READ_ERRORS):
            return _Table(split, config).header
        return []

    def notices(self, split: Split, config: SourceConfig) -> list[str]:
        """Tell of columns that are left out, and of a header that another delimiter would cut."""
        with suppress(*READ_ERRORS):
            return _Table(split, config).notices()
        return []

    def records(self, split: Split, config: SourceConfig) -> Iterator[Record]:
        """Read rows as Python's csv module does: quotes, and newlines within them."""
        return _Table(split, config).records()

    def parts(self, split: Split, config: SourceConfig) -> Iterator[Part]:
        """Read some thousand rows at once."""
        yield from _Table(split, config).parts(self.fields(config).columns)

    def plain_ids(self, split: Split, config: SourceConfig) -> Iterator[PlainIds]:
        """Look at separators and quotes."""
        return _Table(split, config).plain_ids(config.id or "")


class _Table:
    """One file, from its header on."""

    def __init__(self, split: Split, config: SourceConfig) -> None:
        # The module's limit of 128 KB a field is one for the whole process.
        csv.field_size_limit(MAX_LINE_BYTES)
        self._is_tsv = without_compression(split.path.lower()).endswith(".tsv") and config.delimiter == ","
        self._delimiter = "\t" if self._is_tsv else config.delimiter
        self._lines = CsvLines(read_chunks(split))
        self._reader = csv.reader(chain(self._lines, [_END]), delimiter=self._delimiter)
        header = _header(self._reader)
        self._before = self._lines.settle() - self._reader.line_num
        self._width = len(header)
        self.header = _named(header)
        # Ids that are made from the content have always counted a column without a name, if it was the only one.
        if config.id is None and self._unnamed == 1 and "" not in self.header:
            self.header = header

    @property
    def _unnamed(self) -> int:
        return self._width - len(self.header)

    def records(self) -> Iterator[Record]:
        return all_records(self.parts(()))

    def parts(self, chosen: Collection[str] | None) -> Iterator[Part]:
        """Gather rows that follow one another; what is none comes as a part of its own."""
        for positions, rows, error in self._runs():
            if set(map(len, rows)) == {self._width}:
                yield Part(partial(self._all, positions, rows), partial(self._columns, positions, rows, chosen))
            elif rows:
                yield Part(partial(self._all, positions, rows))
            if error is not None:
                yield Part(partial(iter, [(positions[-1], None, error)]))

    def _runs(self) -> Iterator[tuple[list[int], list[list[str]], RowError | None]]:
        """Yield positions and rows, of whatever width, and the error that a row behind them has, with its position."""
        is_open = True
        while is_open:
            positions, rows, error, reason = [], [], None, None
            position = self._position
            self._lines.taken = 0
            try:
                for row in self._reader:
                    positions.append(position)
                    rows.append(row)
                    position = self._position
                    if self._lines.taken >= CHUNK_BYTES or len(rows) >= COLUMN_ROWS:
                        break
                else:
                    is_open = False
            except csv.Error as raised:
                positions.append(position)
                error = _invalid(_reason(raised))
            except READ_ERRORS as raised:
                reason = raised
            if rows and rows[-1] and rows[-1][-1].endswith(_END):
                if rows.pop() == [_END]:
                    positions.pop()
                else:
                    error = _invalid("a quote that opens in this row is never closed; rows after it are missing")
            yield positions, rows, error
            if reason is not None:
                raise reason

    @property
    def _position(self) -> int:
        return self._before + self._reader.line_num

    def _all(self, positions: Sequence[int], rows: Sequence[list[str]]) -> Iterator[Record]:
        for position, row in zip(positions, rows, strict=False):
            if len(row) == self._width:
                yield self._record(position, row)
            elif row:
                yield position, None, _invalid(f"the row has {len(row)} fields, the header {self._width}")

    def _columns(
        self, positions: Sequence[int], rows: Sequence[list[str]], chosen: Collection[str] | None
    ) -> Columns | None:
        named = len(self.header)
        if self._unnamed and any(any(row[named:]) for row in rows):
            return None
        columns = zip(self.header, zip(*rows, strict=True), strict=False)
        try:
            by_name = {
                name: Column(pa.array(values, pa.large_string()))
                for name, values in columns
                if chosen is None or name in chosen
            }
        # Bytes that are no UTF-8 are surrogates here.
        except UnicodeError:
            return None
        return Columns(np.array(positions[: len(rows)]), by_name)

    def _record(self, position: int, row: list[str]) -> Record:
        named = len(self.header)
        values = dict(zip(self.header, row[:named], strict=True))
        if any(row[named:]):
            if self._unnamed > 1 or "" in values:
                where = next(at for at in range(named, len(row)) if row[at])
                return position, None, _invalid(f"the row has a value in column {where + 1}, which has no name")
            values[""] = row[-1]
        return position, values, None

    def plain_ids(self, name: str) -> Iterator[PlainIds]:
        if name not in self.header:
            raise NotPlainError("a table without ids")
        place = {"column": self.header.index(name), "width": self._width}
        return plain_csv_ids(self._lines.whole(), **place, delimiter=self._delimiter)

    def notices(self) -> list[str]:
        notices = []
        if self._unnamed:
            columns = (
                "column has no name and is" if self._unnamed == 1 else f"{self._unnamed} columns have no names and are"
            )
            notices.append(f"the last {columns} left out where {'it is' if self._unnamed == 1 else 'they are'} empty")
        # The separator that most names in the first column would be cut at.
        first = self.header[0] if self.header else ""
        count, other = max((first.count(mark), mark) for mark in DELIMITERS if mark != self._delimiter)
        if count and count >= len(self.header):
            remedy = f"set source.delimiter: {json.dumps(other)}"
            if self._is_tsv and other == ",":
                remedy = "let its name end with .csv"
            notices.append(
                f"its header looks like one with {DELIMITERS[other]}, but is read with "
                f"{DELIMITERS.get(self._delimiter, repr(self._delimiter))} between columns; {remedy}"
            )
        return notices


def _named(header: list[str]) -> list[str]:
    """Leave out empty names at the end, which spreadsheets write for columns that were used once."""
    return list(rstrip(header, lambda name: not name))


def _header(reader: Reader) -> list[str]:
    try:
        header = next((row for row in reader if row), [_END])
    except csv.Error as error:
        raise UnreadableFileError(str(error)) from None
    if header == [_END]:
        return []
    names = Counter(_named(header))
    twice = sorted(name for name, count in names.items() if count > 1)
    if twice:
        raise UnreadableFileError(f"the header names column {twice[0]!r} twice")
    if header[-1].endswith(_END):
        raise UnreadableFileError("a quote in the header is never closed")
    return header


def _invalid(what: str) -> RowError:
    return RowError(STAGE, "InvalidCsv", what)


def _reason(error: csv.Error) -> str:
    """Say what the row has; Python's message for a carriage return is about how a file is opened."""
    if "new-line character" in str(error):
        return "the row is no CSV: it has a carriage return outside of quotes, and the header ends with a newline"
    return f"the row is no CSV: {error}"
