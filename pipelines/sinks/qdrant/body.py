"""Points as the JSON of an upsert, written from Arrow's columns without a Python object a number.

The text means what qdrant-client's models would say: a float32 has the fewest digits that tell it from its neighbours,
and a number that is not finite is null. Who reads such digits as a double and rounds that has the same float32, but for
a rare tiny one that is its neighbour then (7.038531e-26 is known).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import to_json

from embedders.arrow import dense_matrix
from embedders.base import VectorSpec
from pipelines.hashing import entries
from pipelines.rows import HASHES
from pipelines.sinks.base import JobFacts
from pipelines.sinks.qdrant.plain import PlainFacts
from pipelines.sinks.qdrant.points import (
    OURS,
    PAYLOAD_COLUMNS,
    RESERVED,
    job_marks,
    list_ends,
    own_columns,
    payload,
    provenance,
    row_ids,
    sparse_numbers,
)

# A payload's text goes out as it is stored where it is an object with a key, and has nothing of these: a key of ours,
# also an escaped one, and numbers that JSON or a double does not have.
_OBJECT = ('{"', "}")
_ODD = "|".join((rf'"(?:{"|".join(map(re.escape, sorted(RESERVED)))})"', r"\\u", "NaN", "Infinity", r"[eE]\+?[0-9]{3}"))


def upsert_json(rows: pa.Table, job: JobFacts, specs: Mapping[str, VectorSpec], *, store_text: bool) -> bytes:
    """Write the upsert of rows' ids, vectors and payloads: a JSON object with the one key ``batch``."""
    batch = {
        "ids": row_ids(rows),
        "vectors": {name: _vectors(rows[name], spec) for name, spec in specs.items()},
        "payloads": _payloads(rows, job, store_text=store_text),
    }
    return orjson.dumps({"batch": batch}, option=orjson.OPT_SERIALIZE_NUMPY)


def _vectors(column: pa.ChunkedArray, spec: VectorSpec) -> Any:
    """Make what orjson writes as the vectors of points: arrays, and of sparse vectors a dict a point."""
    array = column.combine_chunks()
    if spec.kind == "dense":
        return np.ascontiguousarray(dense_matrix(array))
    if spec.kind == "multivector":
        vectors, ends = np.ascontiguousarray(dense_matrix(array.flatten())), list_ends(array)
        return [vectors[start:end] for start, end in pairwise(ends)]
    (at, at_ends), (by, by_ends) = sparse_numbers(array)
    spans = zip(pairwise(at_ends), pairwise(by_ends), strict=True)
    return [{"indices": at[a:b], "values": by[c:d]} for (a, b), (c, d) in spans]


def _payloads(rows: pa.Table, job: JobFacts, *, store_text: bool) -> list[orjson.Fragment]:
    if isinstance(job, PlainFacts):
        return [orjson.Fragment(stored or b"{}") for stored in entries(rows["payload"])]
    own = _own_entries(rows, job, store_text=store_text)
    written = []
    columns = entries(rows["payload"]), _are_plain(rows["payload"]), own
    for at, (stored, is_plain, keys) in enumerate(zip(*columns, strict=True)):
        if is_plain:
            text = b"%b,%b" % (stored[:-1], keys)
        elif not stored:
            text = b"{" + keys
        else:
            (row,) = rows.slice(at, 1).select(PAYLOAD_COLUMNS).to_pylist()
            # As the client's models are written, which orjson differs from in large integers.
            text = to_json(payload(row, job, store_text=store_text), inf_nan_mode="null")
        written.append(orjson.Fragment(text))
    return written


def _are_plain(payloads: pa.ChunkedArray) -> list[bool | None]:
    is_object = pc.and_(pc.starts_with(payloads, _OBJECT[0]), pc.ends_with(payloads, _OBJECT[1]))
    marks: list[bool | None] = pc.and_not(is_object, pc.match_substring_regex(payloads, _ODD)).to_pylist()
    return marks


def _own_entries(rows: pa.Table, job: JobFacts, *, store_text: bool) -> list[bytes]:
    """Write the JSON objects of ``own_keys``, without what opens them."""
    names = own_columns(job, store_text=store_text)
    form = b"".join(b'"%b":%%b,' % name.encode() for name in [*names, OURS])[:-1] + b"}"
    columns = [map(orjson.dumps, rows[name].to_pylist()) for name in names]
    return [form % values for values in zip(*columns, _provenances(rows, job), strict=True)]


def _provenances(rows: pa.Table, job: JobFacts) -> list[bytes]:
    """Write the JSON objects of ``provenance``."""
    hashes = [rows[name].to_pylist() for name in HASHES]
    # Of points that were copied, they may be null or any texts.
    if not all(None not in column and "".join(column).encode().isalnum() for column in hashes):
        return [orjson.dumps(provenance(row, job)) for row in rows.select(HASHES).to_pylist()]
    first, second, third = (f'"{name}":"' for name in HASHES)
    end = '",' + orjson.dumps(job_marks(job)).decode()[1:]
    return [f'{{{first}{a}",{second}{b}",{third}{c}{end}'.encode() for a, b, c in zip(*hashes, strict=True)]
