"""Records -> rows of SOURCE_SCHEMA: id, text, payload and image, or the error that makes a row dead."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from pipelines.identity import content_hash
from pipelines.rows import RowError
from pipelines.sources.base import Fields
from pipelines.sources.image_values import Reference, named_path, parse_image, too_large
from pipelines.sources.records import STAGE, Oversized, Record, Undecodable
from pipelines.sources.tombstones import parse_deleted

# A block ends here also when it has fewer rows than asked for: long texts and images must not fill the memory.
BLOCK_CHARACTERS = 16 << 20
BLOCK_BYTES = 64 << 20
NOTHING = "the row has neither text nor image"
NAMELESS = RowError(STAGE, "InvalidId", "the row is a deletion, and has no id that says of which document")
_SURROGATE = re.compile("[\ud800-\udfff]")
_MISSING = object()


@dataclass(slots=True)
class Row:
    """One row, with its position in the split: what is usable of it, and an error if anything is not.

    Of ``image`` (bytes) and ``reference`` (where they are), one at most is not None. ``hashed`` tells that the id is
    made from the content, of which an image that is elsewhere counts by its path. A row that is ``deleted`` has an id
    alone: its document is to leave the sinks. ``marked`` tells that the row has the column of deletions.
    """

    position: int | None
    id: str | None = None
    text: str | None = None
    payload: str | None = None
    image: bytes | None = None
    reference: Reference | None = None
    error: RowError | None = None
    hashed: bool = False
    deleted: bool = False
    marked: bool = False


def parse_rows(records: Iterable[Record], fields: Fields) -> Iterator[Row]:
    """Parse records; a live row without an id gets one from its content."""
    for position, values, error in records:
        if values is None:
            yield Row(position, error=error)
            continue
        row = parse_row(values, fields, position)
        row.marked = fields.deleted is not None and fields.deleted in values
        if row.id is None and row.error is None:
            where = row.reference.encode() if isinstance(row.reference, str) else None
            row.id = content_hash(row.text, row.payload, where if row.image is None else row.image)
            row.hashed = True
        yield row


def blocks(rows: Iterable[Row], block_rows: int) -> Iterator[list[Row]]:
    """Gather rows into blocks of at most ``block_rows``.

    A block ends with the row that reaches BLOCK_CHARACTERS, and before one that would take it past BLOCK_BYTES.
    """
    # more_itertools.constrained_batches knows the second end only, and keeps a full block until the next row has come.
    block: list[Row] = []
    characters = size = 0
    for row in rows:
        length = len(row.text or "") + len(row.payload or "")
        row_bytes = length if row.image is None else length + len(row.image)
        if size + row_bytes > BLOCK_BYTES and block:
            yield block
            block, characters, size = [], 0, 0
        block.append(row)
        characters += length
        size += row_bytes
        if len(block) >= block_rows or characters >= BLOCK_CHARACTERS:
            yield block
            block, characters, size = [], 0, 0
    if block:
        yield block


def parse_row(values: dict[str, Any], fields: Fields, position: int | None = None) -> Row:
    """Take id, text, payload (a JSON object) and image out of one row, and the error if one of them is unusable.

    The id is None where the row has none. What is usable of a row with an error is given all the same, but for the
    image; characters that UTF-8 cannot hold are U+FFFD in it.
    """
    name, id_error = parse_id(values.get(fields.id)) if fields.id is not None else (None, None)
    deleted, deleted_error = (False, None)
    if fields.deleted is not None:
        deleted, deleted_error = parse_deleted(values.get(fields.deleted), fields.deleted)
    if deleted:
        return Row(position, name, error=id_error or (NAMELESS if name is None else None), deleted=True)
    text, text_error = _parse_text(values.get(fields.text, _MISSING), fields)
    kept = {
        key: value
        for key, value in values.items()
        if key != fields.text
        and key != fields.id
        and key != fields.image
        and key != fields.deleted
        and (fields.payload is None or key in fields.payload)
    }
    if fields.image is None:
        payload, payload_error = parse_payload(kept)
        return Row(position, name, text, payload, None, None, deleted_error or text_error or id_error or payload_error)
    value = values.get(fields.image)
    image, reference, image_error = parse_image(value, fields.max_image_bytes)
    path = named_path(value)
    if path is not None and (fields.payload is None or fields.image in fields.payload):
        kept[fields.image] = path
    if text is None and image is None and reference is None:
        image_error = image_error or RowError(STAGE, "EmptyRow", NOTHING)
    payload, payload_error = parse_payload(kept)
    error = deleted_error or text_error or image_error or id_error or payload_error
    return Row(
        position, name, text, payload, image if error is None else None, reference if error is None else None, error
    )


def parse_id(value: Any) -> tuple[str | None, RowError | None]:
    """Name a document by a column's value: a string, an integer, or None for a row that has no id."""
    if value is None or value == "":
        return None, None
    if isinstance(value, str):
        return clean(value, "the id", "InvalidId")
    if isinstance(value, UUID) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value), None
    return None, RowError(STAGE, "InvalidId", f"the id {_what(value)}, not a string or an integer")


def _parse_text(value: Any, fields: Fields) -> tuple[str | None, RowError | None]:
    # Where images are, a text may be missing; CSV has no null but only empty fields.
    if fields.image is not None and (value is None or value is _MISSING or value == ""):
        return None, None
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError as error:
            what = f"byte {error.start} of the text, 0x{value[error.start]:02x}, is not UTF-8"
            return value.decode(errors="replace"), RowError(STAGE, "InvalidText", what)
    if isinstance(value, str):
        return clean(value, "the text", "InvalidText")
    if value is _MISSING:
        return None, RowError(STAGE, "InvalidText", f"the row has no column {fields.text!r}")
    if isinstance(value, Oversized):
        return None, RowError(STAGE, "InvalidText", too_large(value.what, fields.max_image_bytes))
    return None, RowError(
        STAGE, "InvalidText", "text is null" if value is None else f"text {_what(value)}, not a string"
    )


def _what(value: Any) -> str:
    return f"cannot be decoded ({value.reason})" if isinstance(value, Undecodable) else f"is {type(value).__name__}"


def clean(value: str, what: str, kind: str) -> tuple[str, RowError | None]:
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


def parse_payload(values: dict[str, Any]) -> tuple[str | None, RowError | None]:
    """Write values as a JSON object with sorted keys; of those that cannot be written, the first is told of."""
    try:
        payload = to_json(values)
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
            _, error = clean(to_json({column: value}), f"payload column {column!r}", "InvalidPayload")
        except (TypeError, ValueError, RecursionError) as reason:
            error = RowError(STAGE, "InvalidPayload", f"payload column {column!r}: {reason}"[:500])
        if error is None:
            good[column] = value
        first_error = first_error or error
    return to_json(good), first_error


def add_to_payload(payload: str | None, key: str, value: dict[str, Any]) -> str:
    """Put one more key, whose value is JSON already, into a payload."""
    return to_json({**json.loads(payload or "{}"), key: value})


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
to_json = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False, default=_plain).encode
