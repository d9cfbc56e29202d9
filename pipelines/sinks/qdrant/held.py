"""What a collection holds of a job's rows: asked by point id, in batches, and read back as Arrow columns."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from more_itertools import chunked
from qdrant_client import QdrantClient, models

from embedders.arrow import dense_array, multivector_array, number_type, sparse_array
from embedders.base import VectorSpec
from pipelines.rows import HASHES, spread
from pipelines.sinks.base import Held, JobFacts
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.points import FLOAT_BYTES, INDEX_BYTES, OURS, POINT_BYTES, provenance, to_point_id

RETRIEVE_POINTS = 1000
# Of an answer with vectors, whose sizes the question does not know: so many tokens and terms are taken for granted.
TOKENS_A_POINT, TERMS_A_POINT = 256, 256
PointId = int | str | uuid.UUID


class Caller(Protocol):
    """Makes a request to the server until it is answered; see ``pipelines.sinks.qdrant.retry.call``."""

    def __call__(self, request: Any, doing: str) -> Any:
        """Make it; ``doing`` is for messages."""


class HeldPoints:
    """Asks one collection what it holds of a job's rows."""

    def __init__(self, client: QdrantClient, config: QdrantSinkConfig, job: JobFacts, call: Caller) -> None:
        self._client, self._config, self._job, self._call = client, config, job, call

    def codes(self, ids: Sequence[PointId], wanted: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.uint8]:
        """Compare what the points' payloads say of them with what is ``wanted``: one of ``Held`` a point, uint8."""
        there: dict[Any, Any] = {}
        for some in chunked(ids, RETRIEVE_POINTS):
            for record in self._retrieve(some, vectors=False):
                there[record.id] = (record.payload or {}).get(OURS)
        pairs = zip(ids, wanted, strict=True)
        return np.array([held_of(there.get(name), made) for name, made in pairs], np.uint8)

    def codes_of_rows(self, rows: pa.Table) -> npt.NDArray[np.uint8]:
        """As ``codes``, for rows with ``id`` and HASHES."""
        return self.codes(*self._asked(rows))

    def vectors(self, rows: pa.Table) -> pa.Table:
        """Read the points' vectors; see ``SinkWriter.vectors``. Those of cosine distance come as unit vectors."""
        found: list[dict[str, Any] | None] = []
        for some in chunked(zip(*self._asked(rows), strict=True), self._points_an_answer()):
            ids, wanted = zip(*some, strict=True)
            there = {record.id: record for record in self._retrieve(list(ids), vectors=True)}
            found += [self._named(there.get(name), made) for name, made in zip(ids, wanted, strict=True)]
        at = np.array([row for row, vectors in enumerate(found) if vectors is not None], np.int64)
        whole = [vectors for vectors in found if vectors is not None]
        return pa.table(
            {
                name: spread(_column([vectors[name] for vectors in whole], spec), at, rows.num_rows)
                for name, spec in self._job.vectors.items()
            }
        )

    def _asked(self, rows: pa.Table) -> tuple[list[PointId], list[dict[str, Any]]]:
        ids: list[PointId] = [to_point_id(name) for name in rows["id"].to_pylist()]
        return ids, [provenance(row, self._job) for row in rows.select(HASHES).to_pylist()]

    def _named(self, record: models.Record | None, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
        """All vectors of a point by name, where they are the ones wanted. A text without terms has no sparse vector."""
        if record is None or held_of((record.payload or {}).get(OURS), wanted) == Held.LACKS:
            return None
        vectors: Any = record.vector or {}
        empty = models.SparseVector(indices=[], values=[])
        named = {
            name: vectors.get(name, empty if spec.kind == "sparse" else None)
            for name, spec in self._job.vectors.items()
        }
        return None if None in named.values() else named

    def _points_an_answer(self) -> int:
        sizes = [POINT_BYTES, *map(_usual_bytes, self._job.vectors.values())]
        most = int(self._config.batch_mb * 1e6) // sum(sizes)
        return max(1, min(most, RETRIEVE_POINTS))

    def _retrieve(self, ids: list[PointId], *, vectors: bool) -> list[models.Record]:
        wanted = list(self._job.vectors) if vectors else False
        found: list[models.Record] = self._call(
            lambda: self._client.retrieve(self._config.collection, ids, with_payload=[OURS], with_vectors=wanted),
            f"asking for {len(ids)} points",
        )
        return found


def held_of(stored: Any, wanted: Mapping[str, Any]) -> Held:
    """Compare what a point's payload says of it, None where there is no such point, with what it would say now.

    Points of older versions have neither hash of their own for text and payload, only the one of both.
    """
    if not isinstance(stored, Mapping) or stored.get("fingerprint") != wanted["fingerprint"]:
        return Held.LACKS
    differing = [name for name in HASHES if name in stored and stored[name] != wanted[name]]
    if "content_hash" in stored and not differing:
        return Held.SAME
    # Nothing is known of a text whose hash is null: see ``pipelines.sources.vectors.rows``.
    known = stored.get("text_hash") is not None
    return Held.VECTORS if known and "text_hash" not in differing else Held.LACKS


def _usual_bytes(spec: VectorSpec) -> int:
    if spec.kind == "sparse":
        return (FLOAT_BYTES + INDEX_BYTES) * TERMS_A_POINT
    return FLOAT_BYTES * (spec.dim or 0) * (TOKENS_A_POINT if spec.kind == "multivector" else 1)


def _column(vectors: Sequence[Any], spec: VectorSpec) -> pa.Array:
    """Make a column of what the client gave; numbers become those of the vector's type."""
    if spec.kind == "sparse":
        indices = np.fromiter(chain.from_iterable(vector.indices for vector in vectors), np.uint32)
        values = np.fromiter(chain.from_iterable(vector.values for vector in vectors), np.float32)
        return sparse_array(_offsets(len(vector.indices) for vector in vectors), indices, values)
    dtype = number_type(spec.arrow_type).to_pandas_dtype()
    if not vectors:
        return pa.array([], spec.arrow_type)
    if spec.kind == "dense":
        return dense_array(np.array(vectors, dtype))
    tokens = [np.array(vector, dtype).reshape(-1, spec.dim or 0) for vector in vectors]
    return multivector_array(_offsets(map(len, tokens)), np.concatenate(tokens))


def _offsets(lengths: Iterator[int]) -> npt.NDArray[np.int64]:
    return np.cumsum([0, *lengths])
