"""The ids of points, made of a column of a dataset."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import ConfigError
from pipelines.identity import point_id

_SPELLED = re.compile(r"(?:urn:uuid:)?([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32})")
_WRITTEN = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_MOST = 2**64 - 1
# From here on floats have no room for each whole number; pandas makes floats of integers where one is missing.
_EXACT = 2**53
# By row, why its id cannot be used.
Faults = dict[int, str]


def point_ids(column: pa.ChunkedArray, corpus: str) -> tuple[pa.Array, npt.NDArray[np.bool_], Faults]:
    """Name points by a column: unsigned integers and UUIDs in any spelling are ids, of other texts UUIDs are made.

    Those are what a job of the ``corpus`` makes of documents that it does not cut. Returns the ids (null where a row
    has none), which of them were made, and why rows have none. Raises ConfigError for a column of another type.
    """
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind, types = array.type, pa.types
    if not any(is_one(kind) for is_one in (types.is_integer, types.is_floating, types.is_null, _is_text, _is_binary)):
        raise ConfigError(f"id: the column is {kind}; ids are unsigned integers, UUIDs, or texts")
    if types.is_signed_integer(kind) and not pc.any(pc.less(array, 0)).as_py() and not array.null_count:
        return array.cast(pa.string()), np.zeros(len(array), np.bool_), {}
    if _is_text(kind) and pc.all(pc.match_substring_regex(array, _WRITTEN)).as_py() and not array.null_count:
        return array.cast(pa.string()), np.zeros(len(array), np.bool_), {}
    ids: list[str | None] = []
    made, faults = np.zeros(len(array), np.bool_), {}
    for row, value in enumerate(array.to_pylist()):
        name, fault = _own_id(value)
        if name is None and fault is None:
            name, made[row] = point_id(corpus, value, 0, chunked=False), True
        if fault is not None:
            faults[row] = fault
        ids.append(name)
    return pa.array(ids, pa.string()), made, faults


def _own_id(value: Any) -> tuple[str | None, str | None]:
    """Return the id that a value is, or what is wrong with it; neither for a text, of which one is to be made."""
    if value is None or value != value:
        return None, "the id is null"
    if isinstance(value, float):
        if not value.is_integer():
            return None, f"the id {value!r} is no whole number"
        if abs(value) >= _EXACT:
            return None, f"the id {value:.0f} is a float, and ids next to it are not told apart; make the ids integers"
        value = int(value)
    if isinstance(value, int):
        return (str(value), None) if 0 <= value <= _MOST else (None, f"the id {value} is not from 0 to {_MOST}")
    if isinstance(value, bytes):
        return (str(UUID(bytes=value)), None) if len(value) == 16 else (None, f"the id has {len(value)} bytes, not 16")
    if value == "":
        return None, "the id is empty"
    if spelled := _SPELLED.fullmatch(value):
        return str(UUID(spelled[1])), None
    # A text of digits that is none past leading zeros, as "007", is a name.
    if value.isascii() and value.isdigit() and str(int(value)) == value and int(value) <= _MOST:
        return value, None
    return None, None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))
