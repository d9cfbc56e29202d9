"""Points as the JSON of an upsert, written from Arrow's columns without a Python object a number.

The text means what qdrant-client's models would say: a float32 has the fewest digits that tell it from its neighbours,
and a number that is not finite is null. Who reads such digits as a double and rounds that has the same float32, but for
a rare tiny one that is its neighbour then (7.038531e-26 is known).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import to_json

from embedders.arrow import dense_matrix
from embedders.base import VectorSpec
from pipelines.hashing import entries, join
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
_OBJECT = r'(?s)^\{".*\}$'
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
    written = []
    texts = zip(entries(rows["payload"]), _are_plain(rows["payload"]), _own_texts(rows, job, store_text), strict=True)
    for at, (stored, is_plain, own) in enumerate(texts):
        if is_plain:
            text = b"%b,%b" % (stored[:-1], own[1:])
        elif not stored:
            text = own
        else:
            (row,) = rows.slice(at, 1).select(PAYLOAD_COLUMNS).to_pylist()
            # As the client's models are written, which orjson differs from in large integers.
            text = to_json(payload(row, job, store_text=store_text), inf_nan_mode="null")
        written.append(orjson.Fragment(text))
    return written


def _are_plain(payloads: pa.ChunkedArray) -> list[bool | None]:
    plain = pc.and_(pc.match_substring_regex(payloads, _OBJECT), pc.invert(pc.match_substring_regex(payloads, _ODD)))
    marks: list[bool | None] = plain.to_pylist()
    return marks


def _own_texts(rows: pa.Table, job: JobFacts, store_text: bool) -> Iterator[bytes]:
    """Write the JSON objects of ``own_keys``."""
    names = own_columns(job, store_text=store_text)
    columns = [rows[name].to_pylist() for name in names]
    made = map(orjson.Fragment, _provenances(rows, job))
    keys = [*names, OURS]
    return (orjson.dumps(dict(zip(keys, values, strict=True))) for values in zip(*columns, made, strict=True))


def _provenances(rows: pa.Table, job: JobFacts) -> list[bytes]:
    """Write the JSON objects of ``provenance``."""
    hashes = [rows[name] for name in HASHES]
    # Of points that were copied, they may be null or any texts.
    if not all(pc.all(pc.ascii_is_alnum(column), skip_nulls=False).as_py() for column in hashes):
        return [orjson.dumps(provenance(row, job)) for row in rows.select(HASHES).to_pylist()]
    parts: list[Any] = []
    for before, name, column in zip(('{"', '","', '","'), HASHES, hashes, strict=True):
        parts += [pa.scalar(f'{before}{name}":"'), column]
    return entries(join(*parts, pa.scalar('",' + orjson.dumps(job_marks(job)).decode()[1:])))
