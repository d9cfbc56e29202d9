"""Rows as Qdrant points: ids, named vectors and payloads, in batches that a server takes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from more_itertools import constrained_batches
from qdrant_client import models

from embedders.arrow import dense_matrix
from embedders.base import VectorSpec
from pipelines.rows import HASHES
from pipelines.sinks.base import JobFacts

OURS = "_fleetembed"
# Inside of OURS: the collection that a job read the point from. Whoever replaces the point or its payload drops it.
FROM = "from"
RESERVED = frozenset(("document_id", "text", "chunk_no", "chunk_start", "chunk_end", "payload", OURS))

# Bytes in JSON: a float32 is written as the float64 it equals, and an index with its comma.
FLOAT_BYTES, INDEX_BYTES, POINT_BYTES = 20, 7, 300


@dataclass(frozen=True)
class Points:
    """Columns of some points; ``first`` is the row of the first in the table they come from.

    ``vectors`` is None for points that are to have only their payloads replaced.
    """

    first: int
    ids: list[int | str | uuid.UUID]
    vectors: dict[str, list[Any]] | None
    payloads: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, start: int, stop: int) -> Points:
        """Take the points [start, stop)."""
        rows = slice(start, stop)
        vectors = self.vectors and {name: column[rows] for name, column in self.vectors.items()}
        return Points(self.first + start, self.ids[rows], vectors, self.payloads[rows])

    @property
    def provenances(self) -> list[dict[str, Any]]:
        """What the payloads say of where the points come from."""
        return [payload[OURS] for payload in self.payloads]

    def overwrites(self, only: models.Filter | None = None) -> list[models.UpdateOperation]:
        """Make an operation a point that replaces its payload; with ``only``, where the point matches that."""
        pairs = zip(self.ids, self.payloads, strict=True)
        return [
            models.OverwritePayloadOperation(
                overwrite_payload=models.SetPayload(payload=payload, points=[name])
                if only is None
                else models.SetPayload(payload=payload, filter=with_ids(only, [name]))
            )
            for name, payload in pairs
        ]

    def batch(self) -> models.Batch:
        """Make the client's batch, unchecked: its lists are well-typed, and to check each float takes long."""
        return models.Batch.model_construct(ids=self.ids, vectors=self.vectors or {}, payloads=self.payloads)


def to_point_id(text: str) -> int | str:
    """Turn the id column's text into Qdrant's id: an unsigned integer, else a UUID."""
    return int(text) if text.isdigit() else text


def payload(row: dict[str, Any], job: JobFacts, *, store_text: bool) -> dict[str, Any]:
    """Build a point's payload: the row's own keys, beside ours.

    Ours are ``document_id``, ``text``, ``chunk_no``, ``chunk_start`` and ``chunk_end`` (the last three with chunking)
    and ``_fleetembed``. A row's key of such a name, or ``payload``, is kept inside the object ``payload``.
    """
    own: dict[str, Any] = json.loads(row["payload"]) if row["payload"] else {}
    moved = {key: own.pop(key) for key in RESERVED.intersection(own)}
    if moved:
        own["payload"] = moved
    own["document_id"] = row["document_id"]
    if store_text:
        own["text"] = row["text"]
    if job.chunked:
        own.update({key: row[key] for key in ("chunk_no", "chunk_start", "chunk_end")})
    own[OURS] = provenance(row, job)
    return own


def provenance(row: dict[str, Any], job: JobFacts) -> dict[str, Any]:
    """Say, for a payload, what a point is made from: the hashes of its row, and the job's fingerprint and corpus.

    A point of a job that reads a collection also says which one.
    """
    made = {**{name: row[name] for name in HASHES}, "fingerprint": job.fingerprint, "corpus": job.corpus}
    return made if job.copied_from is None else {**made, FROM: job.copied_from}


def with_ids(chosen: models.Filter | None, ids: Sequence[Any]) -> models.Filter:
    """Narrow a filter to points of these ids."""
    return models.Filter(must=[models.HasIdCondition(has_id=list(ids)), *([] if chosen is None else [chosen])])


def batches(
    table: pa.Table, job: JobFacts, *, points: int, megabytes: float, store_text: bool, vectors: bool = True
) -> Iterator[Points]:
    """Cut a table into batches of at most so many points and, about, megabytes; a larger row goes alone.

    ``vectors`` False makes points that are to have only their payloads replaced.
    """
    specs = job.vectors if vectors else {}
    sizes: list[int] = _sizes(table, specs, store_text=store_text).tolist()
    limit = max(1, int(megabytes * 1e6))
    for start, stop in _alike(table, specs):
        numbers = range(start, stop)
        for rows in constrained_batches(numbers, limit, points, get_len=sizes.__getitem__, strict=False):
            some = table.slice(rows[0], len(rows))
            held = {name: spec for name, spec in specs.items() if not some[name].null_count}
            columns = {name: vector_lists(some[name], spec) for name, spec in held.items()} if vectors else None
            ids: list[int | str | uuid.UUID] = [to_point_id(name) for name in some["id"].to_pylist()]
            yield Points(rows[0], ids, columns, _payloads(some, job, store_text=store_text))


def _alike(table: pa.Table, specs: Mapping[str, VectorSpec]) -> Iterator[tuple[int, int]]:
    """Cut a table where other vectors than before are missing (null): points of one request have the same vectors."""
    columns = [table[name] for name in specs if table[name].null_count]
    if not columns:
        yield 0, table.num_rows
        return
    there = np.stack([column.is_valid().to_numpy() for column in columns], axis=1)
    cuts = np.flatnonzero((there[1:] != there[:-1]).any(axis=1)) + 1
    yield from pairwise([0, *cuts.tolist(), table.num_rows])


def vector_lists(column: pa.ChunkedArray, spec: VectorSpec) -> list[Any]:
    """Turn a vector column into what Qdrant's models hold: lists of floats, of such lists, or SparseVectors."""
    array = column.combine_chunks()
    if spec.kind == "dense":
        rows: list[Any] = dense_matrix(array).tolist()
        return rows
    if spec.kind == "multivector":
        return [part.tolist() for part in _split(array, dense_matrix(array.flatten()))]
    indices, values = (pc.struct_field(array, field) for field in ("indices", "values"))
    pairs = zip(_split(indices, indices.flatten().to_numpy()), _split(values, values.flatten().to_numpy()), strict=True)
    return [models.SparseVector.model_construct(indices=at.tolist(), values=by.tolist()) for at, by in pairs]


def _split(lists: pa.ListArray, values: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Cut flattened values into the rows of their list array."""
    lengths = lists.value_lengths().fill_null(0).to_numpy()
    return np.split(values, np.cumsum(lengths)[:-1]) if len(lengths) else []


def _payloads(table: pa.Table, job: JobFacts, *, store_text: bool) -> list[dict[str, Any]]:
    names = ["document_id", "text", "payload", "chunk_no", "chunk_start", "chunk_end", *HASHES]
    return [payload(row, job, store_text=store_text) for row in table.select(names).to_pylist()]


def _sizes(table: pa.Table, specs: Mapping[str, VectorSpec], *, store_text: bool) -> npt.NDArray[np.int64]:
    """Estimate each row's bytes in a JSON request."""
    sizes = np.full(table.num_rows, POINT_BYTES)
    for name in ("payload", "text") if store_text else ("payload",):
        sizes += pc.binary_length(table[name]).fill_null(0).to_numpy()
    for name, spec in specs.items():
        if spec.kind == "dense":
            sizes += FLOAT_BYTES * (spec.dim or 0)
        elif spec.kind == "multivector":
            sizes += FLOAT_BYTES * (spec.dim or 0) * pc.list_value_length(table[name]).fill_null(0).to_numpy()
        else:
            terms = pc.list_value_length(pc.struct_field(table[name], "values")).fill_null(0).to_numpy()
            sizes += (FLOAT_BYTES + INDEX_BYTES) * terms
    return sizes
