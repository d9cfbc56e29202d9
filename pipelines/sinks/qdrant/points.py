"""Rows as Qdrant points: ids, named vectors and payloads."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from qdrant_client import models

from embedders.arrow import dense_matrix
from embedders.base import VectorSpec
from pipelines.rows import HASHES
from pipelines.sinks.base import JobFacts

OURS = "_fleetembed"
# Inside of OURS: the collection that a job read the point from. Whoever replaces the point or its payload drops it.
FROM = "from"
RESERVED = frozenset(("document_id", "text", "chunk_no", "chunk_start", "chunk_end", "payload", OURS))

PAYLOAD_COLUMNS = ["document_id", "text", "payload", "chunk_no", "chunk_start", "chunk_end", *HASHES]
PointId = int | str | uuid.UUID

# Bytes in JSON with their commas: a float32 of as few digits as tell it, an index, and of a point all the rest.
FLOAT_BYTES, INDEX_BYTES, POINT_BYTES = 13, 11, 400


def to_point_id(text: str) -> int | str:
    """Turn the id column's text into Qdrant's id: an unsigned integer, else a UUID."""
    return int(text) if text.isdigit() else text


def row_ids(rows: pa.Table) -> list[PointId]:
    """Turn the id column into Qdrant's ids."""
    return [to_point_id(name) for name in rows["id"].to_pylist()]


def payload(row: dict[str, Any], job: JobFacts, *, store_text: bool) -> dict[str, Any]:
    """Build a point's payload: the row's own keys, beside ours.

    Ours are ``document_id``, ``text``, ``chunk_no``, ``chunk_start`` and ``chunk_end`` (the last three with chunking)
    and ``_fleetembed``. A row's key of such a name, or ``payload``, is kept inside the object ``payload``.
    """
    return row_keys(row["payload"]) | own_keys(row, job, store_text=store_text)


def row_keys(stored: str | None) -> dict[str, Any]:
    """Build what a point's payload has of the row's own keys; ``stored`` is their JSON."""
    own: dict[str, Any] = json.loads(stored) if stored else {}
    moved = {key: own.pop(key) for key in RESERVED.intersection(own)}
    if moved:
        own["payload"] = moved
    return own


def own_keys(row: Mapping[str, Any], job: JobFacts, *, store_text: bool) -> dict[str, Any]:
    """Build what a point's payload has beside the row's own keys."""
    ours = {key: row[key] for key in own_columns(job, store_text=store_text)}
    ours[OURS] = provenance(row, job)
    return ours


def own_columns(job: JobFacts, *, store_text: bool) -> list[str]:
    """Name the columns that a point's payload has as keys."""
    chunk = ["chunk_no", "chunk_start", "chunk_end"] if job.chunked else []
    return ["document_id", *(["text"] if store_text else []), *chunk]


def provenance(row: Mapping[str, Any], job: JobFacts) -> dict[str, Any]:
    """Say, for a payload, what a point is made from: the hashes of its row, and the job's fingerprint and corpus.

    A point of a job that reads a collection also says which one.
    """
    return {**{name: row[name] for name in HASHES}, **job_marks(job)}


def job_marks(job: JobFacts) -> dict[str, str]:
    """Say what the provenance of all of a job's points has in common."""
    made = {"fingerprint": job.fingerprint, "corpus": job.corpus}
    return made if job.copied_from is None else {**made, FROM: job.copied_from}


def with_ids(chosen: models.Filter | None, ids: Sequence[Any]) -> models.Filter:
    """Narrow a filter to points of these ids."""
    return models.Filter(must=[models.HasIdCondition(has_id=list(ids)), *([] if chosen is None else [chosen])])


def vector_lists(column: pa.ChunkedArray, spec: VectorSpec) -> list[Any]:
    """Turn a vector column into what Qdrant's models hold: lists of floats, of such lists, or SparseVectors."""
    array = column.combine_chunks()
    if spec.kind == "dense":
        rows: list[Any] = dense_matrix(array).tolist()
        return rows
    if spec.kind == "multivector":
        tokens = dense_matrix(array.flatten())
        return [tokens[start:end].tolist() for start, end in pairwise(list_ends(array))]
    (at, at_ends), (by, by_ends) = sparse_numbers(array)
    spans = zip(pairwise(at_ends), pairwise(by_ends), strict=True)
    return [
        models.SparseVector.model_construct(indices=at[a:b].tolist(), values=by[c:d].tolist())
        for (a, b), (c, d) in spans
    ]


def sparse_numbers(array: pa.StructArray) -> tuple[tuple[npt.NDArray[Any], list[int]], ...]:
    """Take the indices and the values out of sparse vectors, each with the ``list_ends`` of the vectors."""
    lists = [pc.struct_field(array, field) for field in ("indices", "values")]
    return tuple((one.flatten().to_numpy(), list_ends(one)) for one in lists)


def list_ends(lists: pa.ListArray) -> list[int]:
    """Where in its flattened values each list ends, behind a 0."""
    lengths: npt.NDArray[np.int64] = lists.value_lengths().fill_null(0).to_numpy()
    return [0, *np.cumsum(lengths).tolist()]
