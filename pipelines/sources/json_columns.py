"""Columns of values -> their JSON text, and that of objects with these keys: what ``rows.parse_payload`` writes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from json.encoder import encode_basestring

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.hashing import join
from pipelines.sources.parts import Column
from pipelines.sources.rows import to_json

_text = partial(pa.scalar, type=pa.large_string())
# Doubles between these (and 0) have no exponent, neither in Python nor in Arrow.
_SHORTEST, _LONGEST = 1e-4, 1e9
# Days since 1970 of the first and the last date that Python can hold.
_DAYS = (-719_162, 2_932_896)


class OddError(Exception):
    """Rows have something that is left to the way by which they are read one by one."""


def json_objects(columns: Mapping[str, Column], rows: int) -> pa.Array:
    """Write a JSON object a row, its keys sorted; raises OddError, or what Python raises for values it cannot hold."""
    if not columns:
        return pa.repeat(_text("{}"), rows)
    if any(column.missing is not None for column in columns.values()):
        return _objects_with_gaps(columns)
    parts: list[pa.Array | pa.Scalar] = []
    constant = "{"
    for name in sorted(columns):
        before, values, after = _json_texts(columns[name])
        parts += [_text(f"{constant}{encode_basestring(name)}: {before}"), values]
        constant = f"{after}, "
    return join(*parts, _text(f"{constant[:-2]}}}"))


def _objects_with_gaps(columns: Mapping[str, Column]) -> pa.Array:
    parts = []
    for name in sorted(columns):
        before, values, after = _json_texts(columns[name])
        part = join(_text(f", {encode_basestring(name)}: {before}"), values, _text(after))
        missing = columns[name].missing
        parts.append(part if missing is None else pc.if_else(missing, _text(""), part))
    inside = pc.utf8_slice_codeunits(join(*parts), len(", "))
    return join(_text("{"), inside, _text("}"))


def _json_texts(column: Column) -> tuple[str, pa.Array, str]:
    """Write values as JSON, without what is before and after all of them."""
    values, types = column.values, pa.types
    if types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if column.is_json:
        return "", values, ""
    if types.is_string(kind) or types.is_large_string(kind):
        return _string_texts(utf8(values))
    if types.is_null(kind):
        return "", pa.repeat(_text("null"), len(values)), ""
    if types.is_boolean(kind):
        texts = pc.if_else(values, _text("true"), _text("false"))
    elif types.is_integer(kind):
        texts = values.cast(pa.large_string())
    elif types.is_float32(kind) or types.is_float64(kind):
        texts = _float_texts(values.cast(pa.float64()))
    elif types.is_date32(kind):
        return _date_texts(values)
    else:
        texts = pa.array(map(to_json, values.to_pylist(maps_as_pydicts="strict")), pa.large_string())
    return "", _null_as_text(texts), ""


def utf8(values: pa.Array) -> pa.Array:
    """Make large strings of a column of strings; raises ArrowInvalid where one is not UTF-8."""
    values.validate(full=True)
    return values.cast(pa.large_string())


def _string_texts(values: pa.Array) -> tuple[str, pa.Array, str]:
    rows = _rows_with_escapes(values)
    if len(rows):
        escaped = (encode_basestring(value)[1:-1] for value in values.take(pa.array(rows)).to_pylist())
        mask = np.zeros(len(values), dtype=bool)
        mask[rows] = True
        values = pc.replace_with_mask(values, mask, pa.array(escaped, pa.large_string()))
    if values.null_count:
        return "", _null_as_text(join(_text('"'), values, _text('"'))), ""
    return '"', values, '"'


def _rows_with_escapes(values: pa.Array) -> npt.NDArray[np.int64]:
    """Find the strings of which JSON escapes a character: a quote, a backslash or a control."""
    offsets = np.frombuffer(values.buffers()[1], np.int64)[values.offset : values.offset + len(values) + 1]
    # Bytes of other characters than these are 128 or more.
    characters = np.frombuffer(values.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    special = (characters < ord(" ")) | (characters == ord('"')) | (characters == ord("\\"))
    if not special.any():
        return np.zeros(0, np.int64)
    return np.unique(np.searchsorted(offsets, np.flatnonzero(special) + offsets[0], side="right") - 1)


def _float_texts(values: pa.Array) -> pa.Array:
    """Write doubles as ``float.__repr__`` does, which Arrow does but for whole numbers and exponents; NaN is null."""
    numbers = values.to_numpy(zero_copy_only=False)
    if np.isinf(numbers).any():
        raise OddError("infinity has no JSON form")
    sizes = np.abs(numbers)
    plain = (sizes >= _SHORTEST) & (sizes < _LONGEST)
    whole = plain & (numbers == np.trunc(numbers))
    texts = values.cast(pa.large_string())
    if whole.any():
        texts = pc.if_else(pa.array(whole), join(texts, _text(".0")), texts)
    others = ~plain & ~np.isnan(numbers)
    if others.any():
        found = iter(map(float.__repr__, numbers[others].tolist()))
        texts = pc.replace_with_mask(texts, pa.array(others), pa.array(found, pa.large_string()))
    return pc.if_else(pc.is_nan(values), None, texts)


def _date_texts(values: pa.Array) -> tuple[str, pa.Array, str]:
    ends = pc.min_max(values.cast(pa.int32())).as_py()
    if ends["min"] is not None and not (_DAYS[0] <= ends["min"] and ends["max"] <= _DAYS[1]):
        raise OddError("a date is past those that Python can hold")
    return _string_texts(values.cast(pa.large_string()))


def _null_as_text(texts: pa.Array) -> pa.Array:
    return pc.fill_null(texts, "null") if texts.null_count else texts
