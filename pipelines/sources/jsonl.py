"""JSON lines: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from pipelines.config.source import SourceConfig
from pipelines.rows import RowError
from pipelines.sources.base import Format, Outline
from pipelines.sources.json_lines import json_columns
from pipelines.sources.jsonl_ids import plain_jsonl_ids
from pipelines.sources.lines import CHUNK_BYTES, TOO_LONG, count_lines, is_compressed, read_line_lists
from pipelines.sources.parts import COLUMN_ROWS, Part, all_records
from pipelines.sources.plain_ids import PlainIds
from pipelines.sources.records import READ_ERRORS, STAGE, Record
from pipelines.sources.split import SPLIT_BYTES, Split

# For files that are one JSON array or object, whose lines are none.
AS_LINES = "if the file is one JSON array, jq -c '.[]' FILE writes it as lines"


class Jsonl(Format):
    """JSON lines, cut at ranges of bytes; a split has the lines that begin in its range."""

    name = "jsonl"
    endings = (".jsonl", ".ndjson", ".jsonlines", ".json")
    is_compressible = True
    has_columns = True

    def outline(self, split: Split) -> Outline:
        """Cut a large file at bytes; a compressed one can only be read from its start."""
        if split.bytes <= SPLIT_BYTES or is_compressed(split.path):
            return Outline((split,))
        return Outline(tuple(_cut(split)))

    def records(self, split: Split, config: SourceConfig) -> Iterator[Record]:
        """Read one object a line; blank lines count but are left out."""
        return all_records(self.parts(split, config))

    def parts(self, split: Split, config: SourceConfig) -> Iterator[Part]:
        """Read some thousand lines at once."""
        chosen = self.fields(config).columns
        position = 0
        for lines in _gathered(read_line_lists(split)):
            for start in range(0, len(lines), COLUMN_ROWS):
                some = lines[start : start + COLUMN_ROWS]
                yield Part(partial(_records, some, position), partial(json_columns, some, position, chosen), len(some))
                position += len(some)

    def plain_ids(self, split: Split, config: SourceConfig) -> Iterator[PlainIds]:
        """Look at the beginnings of lines."""
        return plain_jsonl_ids(split, config.id or "")

    def count_rows(self, split: Split) -> int | None:
        """Count the lines of a range of bytes."""
        return None if split.stop is None else count_lines(split)


def _cut(split: Split) -> Iterator[Split]:
    for start in range(0, split.bytes, SPLIT_BYTES):
        stop = min(start + SPLIT_BYTES, split.bytes)
        yield replace(split, bytes=stop - start, start=start, stop=stop, first_row=None if start else 1)


def _gathered(lists: Iterable[list[bytes | None]]) -> Iterator[list[bytes | None]]:
    """Put short lists together; those before what ``lists`` raises come first."""
    gathered: list[bytes | None] = []
    size = 0
    try:
        for lines in lists:
            gathered += lines
            size += sum(map(len, filter(None, lines)))
            if size >= CHUNK_BYTES or len(gathered) >= COLUMN_ROWS:
                yield gathered
                gathered, size = [], 0
    except READ_ERRORS:
        if gathered:
            yield gathered
        raise
    if gathered:
        yield gathered


def _records(lines: Sequence[bytes | None], first: int) -> Iterator[Record]:
    for position, line in enumerate(lines, first):
        if line is None:
            yield position, None, RowError(STAGE, "InvalidJson", f"the line {TOO_LONG}")
        elif line and not line.isspace():
            yield _record(position, line)


def _record(position: int, line: bytes) -> Record:
    try:
        values = json.loads(line.decode())
    except UnicodeDecodeError as error:
        what = f"byte {error.start} of the line, 0x{line[error.start]:02x}, is not UTF-8"
        return position, None, RowError(STAGE, "InvalidUtf8", what)
    except ValueError as error:
        hint = f"; {AS_LINES}" if line.strip() in (b"[", b"{", b"[{") else ""
        return position, None, RowError(STAGE, "InvalidJson", f"the line is no JSON: {error}"[:300] + hint)
    except RecursionError:
        return position, None, RowError(STAGE, "InvalidJson", "the object is nested too deeply")
    if isinstance(values, dict):
        return position, values, None
    hint = f"; {AS_LINES}" if isinstance(values, list) else ""
    what = f"the line is a {type(values).__name__}, not an object; it takes one JSON object a line{hint}"
    return position, None, RowError(STAGE, "InvalidJson", what)
