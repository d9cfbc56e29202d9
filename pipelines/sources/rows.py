"""Records -> rows of SOURCE_SCHEMA: id, text and payload, or the error that makes a row dead."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from pipelines.config import SourceConfig
from pipelines.schema import RowError, content_hashes
from pipelines.sources.split import STAGE, Record, Split, Undecodable

# A block ends here also when it has fewer rows than asked for: long texts must not fill the memory.
BLOCK_CHARACTERS = 16 << 20
_SURROGATE = re.compile("[\ud800-\udfff]")
_MISSING = object()


@dataclass(frozen=True)
class Fields:
    """Which columns are id (None: made from the content), text, and payload (None: all others)."""

    id: str | None
    text: str
    payload: frozenset[str] | None

    @classmethod
    def of(cls, split: Split, config: SourceConfig) -> Fields:
        """Choose the fields of one split; text files have the ones that ``text_records`` gives them."""
        payload = None if config.payload == "all" else frozenset(config.payload)
        if split.format == "text":
            return cls("id", "text", payload)
        return cls(config.id, config.text, payload)

    @property
    def columns(self) -> frozenset[str] | None:
        """All columns to read; None for all there are."""
        return None if self.payload is None else self.payload | {self.text} | ({self.id} if self.id else set())


@dataclass
class Block:
    """Rows column by column, with their positions in the split; ``hashed`` are the rows whose id is their content."""

    positions: list[int | None] = field(default_factory=list)
    ids: list[str | None] = field(default_factory=list)
    texts: list[str | None] = field(default_factory=list)
    payloads: list[str | None] = field(default_factory=list)
    errors: list[RowError | None] = field(default_factory=list)
    hashed: list[int] = field(default_factory=list)

    def name_by_content(self) -> None:
        """Give each live row without an id the hash of its text and payload."""
        rows = range(len(self.ids))
        self.hashed = [row for row in rows if self.ids[row] is None and self.errors[row] is None]
        texts, payloads = [self.texts[row] for row in self.hashed], [self.payloads[row] for row in self.hashed]
        for row, name in zip(self.hashed, content_hashes(texts, payloads), strict=True):
            self.ids[row] = name


def blocks(records: Iterable[Record], fields: Fields, block_rows: int) -> Iterator[Block]:
    """Parse records and gather them into blocks of at most ``block_rows`` rows."""
    block, characters = Block(), 0
    for position, values, error in records:
        name = text = payload = None
        if values is not None:
            name, text, payload, error = parse_row(values, fields)
            characters += len(text or "") + len(payload or "")
        block.positions.append(position)
        block.ids.append(name)
        block.texts.append(text)
        block.payloads.append(payload)
        block.errors.append(error)
        if len(block.ids) >= block_rows or characters >= BLOCK_CHARACTERS:
            block.name_by_content()
            yield block
            block, characters = Block(), 0
    if block.ids:
        block.name_by_content()
        yield block


def parse_row(values: dict[str, Any], fields: Fields) -> tuple[str | None, str | None, str | None, RowError | None]:
    """Take id, text and payload (a JSON object) out of one row, and the error if one of them is unusable.

    The id is None where the row has none. What is usable of a row with an error is given all the same; characters
    that UTF-8 cannot hold are U+FFFD in it.
    """
    name, id_error = parse_id(values.get(fields.id)) if fields.id is not None else (None, None)
    text, text_error = _parse_text(values.get(fields.text, _MISSING), fields.text)
    kept = {
        key: value
        for key, value in values.items()
        if key != fields.text and key != fields.id and (fields.payload is None or key in fields.payload)
    }
    payload, payload_error = _parse_payload(kept)
    return name, text, payload, text_error or id_error or payload_error


def parse_id(value: Any) -> tuple[str | None, RowError | None]:
    """Name a document by a column's value: a string, an integer, or None for a row that has no id."""
    if value is None or value == "":
        return None, None
    if isinstance(value, str):
        return _clean(value, "the id", "InvalidId")
    if isinstance(value, UUID) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value), None
    return None, RowError(STAGE, "InvalidId", f"the id {_what(value)}, not a string or an integer")


def _parse_text(value: Any, column: str) -> tuple[str | None, RowError | None]:
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError as error:
            what = f"byte {error.start} of the text, 0x{value[error.start]:02x}, is not UTF-8"
            return value.decode(errors="replace"), RowError(STAGE, "InvalidText", what)
    if isinstance(value, str):
        return _clean(value, "the text", "InvalidText")
    if value is _MISSING:
        return None, RowError(STAGE, "InvalidText", f"the row has no column {column!r}")
    return None, RowError(
        STAGE, "InvalidText", "text is null" if value is None else f"text {_what(value)}, not a string"
    )


def _what(value: Any) -> str:
    return f"cannot be decoded ({value.reason})" if isinstance(value, Undecodable) else f"is {type(value).__name__}"


def _clean(value: str, what: str, kind: str) -> tuple[str, RowError | None]:
    """Replace what Arrow cannot hold. CSV has lone surrogates where its bytes were no UTF-8."""
    found = None if value.isascii() else _SURROGATE.search(value)
    if found is None:
        return value, None
    code = ord(found[0])
    cause = (
        f"byte 0x{code - 0xDC00:02x}, which is not UTF-8"
        if 0xDC80 <= code <= 0xDCFF
        else f"lone surrogate U+{code:04X}"
    )
    message = f"{what} has a {cause}, at character {found.start()}"
    return _SURROGATE.sub("\ufffd", value), RowError(STAGE, kind, message)


def _parse_payload(values: dict[str, Any]) -> tuple[str | None, RowError | None]:
    try:
        payload = _to_json(values)
    except (TypeError, ValueError, RecursionError):
        pass
    else:
        if payload.isascii() or not _SURROGATE.search(payload):
            return payload, None
    good = {}
    first_error = None
    for column, value in values.items():
        try:
            value = _without_nan(value)
            _, error = _clean(_to_json({column: value}), f"payload column {column!r}", "InvalidPayload")
        except (TypeError, ValueError, RecursionError) as reason:
            error = RowError(STAGE, "InvalidPayload", f"payload column {column!r}: {reason}"[:500])
        if error is None:
            good[column] = value
        first_error = first_error or error
    return _to_json(good), first_error


def _plain(value: Any) -> Any:
    """Give a JSON form to what Parquet has and JSON has not.

    Dates and times in ISO 8601, durations in seconds, UUIDs and UTF-8 bytes as strings; a decimal is a number if a
    double shows the same digits, else a string.
    """
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        number = float(value)
        return number if Decimal(repr(number)) == value else str(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, Undecodable):
        raise ValueError(value.reason)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _without_nan(value: Any) -> Any:
    """Turn NaN, which JSON has not, into null, as Qdrant's own Ray sink does; infinity stays and fails."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, list) else value


# json.dumps would make an encoder for each call.
_to_json = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False, default=_plain).encode
