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
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import to_json

from embedders.arrow import dense_matrix
from embedders.base import VectorSpec
from pipelines.sinks.base import JobFacts
from pipelines.sinks.qdrant.points import PAYLOAD_COLUMNS, RESERVED, own_keys, payload, row_ids

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
        vectors, ends = np.ascontiguousarray(dense_matrix(array.flatten())), _ends(array)
        return [vectors[start:end] for start, end in pairwise(ends)]
    indices, values = (pc.struct_field(array, field) for field in ("indices", "values"))
    at, by = indices.flatten().to_numpy(), values.flatten().to_numpy()
    spans = zip(pairwise(_ends(indices)), pairwise(_ends(values)), strict=True)
    return [{"indices": at[a:b], "values": by[c:d]} for (a, b), (c, d) in spans]


def _ends(lists: pa.ListArray) -> list[int]:
    """Where in its flattened values each list ends, behind a 0."""
    lengths: npt.NDArray[np.int64] = lists.value_lengths().fill_null(0).to_numpy()
    return [0, *np.cumsum(lengths).tolist()]


def _payloads(rows: pa.Table, job: JobFacts, *, store_text: bool) -> list[orjson.Fragment]:
    stored = rows["payload"]
    plain = pc.and_(pc.match_substring_regex(stored, _OBJECT), pc.invert(pc.match_substring_regex(stored, _ODD)))
    columns = [rows[name].to_pylist() for name in PAYLOAD_COLUMNS]
    written = []
    for values, is_plain in zip(zip(*columns, strict=True), plain.to_pylist(), strict=True):
        row = dict(zip(PAYLOAD_COLUMNS, values, strict=True))
        if is_plain:
            text = row["payload"][:-1].encode() + b"," + orjson.dumps(own_keys(row, job, store_text=store_text))[1:]
        elif not row["payload"]:
            text = orjson.dumps(own_keys(row, job, store_text=store_text))
        else:
            # As the client's models are written, which orjson differs from in large integers.
            text = to_json(payload(row, job, store_text=store_text), inf_nan_mode="null")
        written.append(orjson.Fragment(text))
    return written
