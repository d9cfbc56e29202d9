"""CSV and TSV files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING

from pipelines.config.source import SourceConfig
from pipelines.rows import RowError
from pipelines.sources.base import Format
from pipelines.sources.lines import MAX_LINE_BYTES, TOO_LONG, read_lines, without_compression
from pipelines.sources.records import READ_ERRORS, STAGE, Record, UnreadableFileError
from pipelines.sources.split import Split

if TYPE_CHECKING:
    from _csv import Reader

# A row of its own unless a quote is still open at the end of the file. Noncharacters, which no real text holds.
_END = "\ufdd0end of file\ufdd0"


class Csv(Format):
    """CSV with a header; ``.tsv`` is separated by tabs unless ``source.delimiter`` says otherwise."""

    name = "csv"
    endings = (".csv", ".tsv")
    is_compressible = True

    def columns(self, split: Split, config: SourceConfig) -> Iterable[str]:
        """Names in the header."""
        with suppress(*READ_ERRORS):
            header = _header(_reader(split, config.delimiter))
            return [] if header == [_END] else header
        return []

    def records(self, split: Split, config: SourceConfig) -> Iterator[Record]:
        """Read rows as Python's csv module does: quotes, and newlines within them."""
        reader = _reader(split, config.delimiter)
        header = _header(reader)
        while True:
            position = reader.line_num
            try:
                row = next(reader, [_END])
            except csv.Error as error:
                yield position, None, RowError(STAGE, "InvalidCsv", f"the row is no CSV: {error}")
                continue
            if row == [_END]:
                return
            if row and row[-1].endswith(_END):
                what = "a quote that opens in this row is never closed; rows after it are missing"
                yield position, None, RowError(STAGE, "InvalidCsv", what)
            elif len(row) == len(header):
                yield position, dict(zip(header, row, strict=True)), None
            elif row:
                what = f"the row has {len(row)} fields, the header {len(header)}"
                yield position, None, RowError(STAGE, "InvalidCsv", what)


def _reader(split: Split, delimiter: str) -> Reader:
    # The module's limit of 128 KB a field is one for the whole process.
    csv.field_size_limit(MAX_LINE_BYTES)
    tabs = without_compression(split.path.lower()).endswith(".tsv") and delimiter == ","
    return csv.reader(chain(_lines(split), [_END]), delimiter="\t" if tabs else delimiter)


def _lines(split: Split) -> Iterator[str]:
    for number, line in enumerate(read_lines(split), start=1):
        if line is None:
            raise EOFError(f"line {number} {TOO_LONG}")
        # Only the rows whose columns have such bytes are to fail: see rows.py.
        yield line.decode(errors="surrogateescape") + "\n"


def _header(reader: Reader) -> list[str]:
    try:
        header = next((row for row in reader if row), [_END])
    except csv.Error as error:
        raise UnreadableFileError(str(error)) from None
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UnreadableFileError(f"the header names column {twice[0]!r} twice")
    if header != [_END] and header[-1].endswith(_END):
        raise UnreadableFileError("a quote in the header is never closed")
    return header
