"""Records of JSONL, CSV and plain text files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from pipelines.rows import RowError
from pipelines.sources.lines import MAX_LINE_BYTES, read_chunks, read_lines, without_mark
from pipelines.sources.split import STAGE, Record, Split

if TYPE_CHECKING:
    from _csv import Reader

TOO_LONG = f"is longer than {MAX_LINE_BYTES >> 20} MB"
# A row of its own unless a quote is still open at the end of the file. Noncharacters, which no real text holds.
_END = "\ufdd0end of file\ufdd0"


def jsonl_records(split: Split) -> Iterator[Record]:
    """Read one JSON object a line; blank lines count but are left out."""
    for position, line in enumerate(read_lines(split)):
        if line is None:
            yield position, None, RowError(STAGE, "InvalidJson", f"the line {TOO_LONG}")
        elif line and not line.isspace():
            yield _json_record(position, line)


def _json_record(position: int, line: bytes) -> Record:
    try:
        values = json.loads(line.decode())
    except UnicodeDecodeError as error:
        what = f"byte {error.start} of the line, 0x{line[error.start]:02x}, is not UTF-8"
        return position, None, RowError(STAGE, "InvalidUtf8", what)
    except ValueError as error:
        return position, None, RowError(STAGE, "InvalidJson", f"the line is no JSON: {error}"[:300])
    except RecursionError:
        return position, None, RowError(STAGE, "InvalidJson", "the object is nested too deeply")
    if isinstance(values, dict):
        return position, values, None
    what = f"the line is a {type(values).__name__}, not an object; it takes one JSON object a line"
    return position, None, RowError(STAGE, "InvalidJson", what)


def csv_records(split: Split, delimiter: str) -> Iterator[Record]:
    """Read CSV with a header as Python's csv module does: quotes, and newlines within them.

    Raises csv.Error where the header cannot be used, besides what ``read_lines`` raises.
    """
    reader = _csv_reader(split, delimiter)
    header = _csv_header(reader)
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


def csv_columns(split: Split, delimiter: str) -> list[str]:
    """Names in the header; raises as ``csv_records`` does."""
    header = _csv_header(_csv_reader(split, delimiter))
    return [] if header == [_END] else header


def _csv_reader(split: Split, delimiter: str) -> Reader:
    # The module's limit of 128 KB a field is one for the whole process.
    csv.field_size_limit(MAX_LINE_BYTES)
    name = split.path.lower().removesuffix(".gz").removesuffix(".bz2").removesuffix(".zst")
    tabs = name.endswith(".tsv") and delimiter == ","
    return csv.reader(chain(_csv_lines(split), [_END]), delimiter="\t" if tabs else delimiter)


def _csv_lines(split: Split) -> Iterator[str]:
    for number, line in enumerate(read_lines(split), start=1):
        if line is None:
            raise EOFError(f"line {number} {TOO_LONG}")
        # Only the rows whose columns have such bytes are to fail: see rows.py.
        yield line.decode(errors="surrogateescape") + "\n"


def _csv_header(reader: Reader) -> list[str]:
    header = next((row for row in reader if row), [_END])
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise csv.Error(f"the header names column {twice[0]!r} twice")
    if header != [_END] and header[-1].endswith(_END):
        raise csv.Error("a quote in the header is never closed")
    return header


def text_records(split: Split) -> Iterator[Record]:
    """Read a whole file as one document, whose id is the file's name."""
    pieces = []
    size = 0
    for piece in read_chunks(split):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_LINE_BYTES:
            yield 0, None, RowError(STAGE, "InvalidText", f"the file {TOO_LONG}")
            return
    # Bytes, because those that are no UTF-8 are one row's error, to be found where all of them are.
    yield 0, {"id": split.name, "text": without_mark(b"".join(pieces)), "path": split.name}, None
