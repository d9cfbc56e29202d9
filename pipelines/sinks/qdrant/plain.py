"""Points of no job: their payload is that of their rows, and neither they nor their collection tell of a fingerprint.

They are written as a job's points are, in batches, with retries, and split down to the point that a server refuses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from qdrant_client import QdrantClient, models

from embedders.base import VectorSpec
from pipelines.sinks.base import JobFacts

# By so much a stored number may differ from one that was sent: of a float32 that was brought to unit length, and of one
# that is kept in 16 bits.
CLOSE, CLOSE_HALF = 1e-5, 2e-3


@dataclass(frozen=True)
class PlainFacts(JobFacts):
    """The vectors of points of no job, and the ``metadata`` of the collection, where it is made for them."""

    corpus: str = ""
    fingerprint: str = ""
    vectors: dict[str, VectorSpec] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)


def plain_payloads(rows: pa.Table) -> list[dict[str, Any]]:
    """Read the payloads, JSON objects, of rows."""
    return [json.loads(text) if text else {} for text in rows["payload"].to_pylist()]


def are_held(
    client: QdrantClient, collection: str, ids: Sequence[Any], vectors: Mapping[str, Sequence[Any]], payloads: Any
) -> bool:
    """Read points back, and tell whether all are there with these vectors and payloads."""
    found = client.retrieve(collection, ids=ids, with_payload=True, with_vectors=True)
    stored = {str(point.id): point for point in found}
    columns: Iterable[Any] = zip(*vectors.values(), strict=True) if vectors else ([] for _ in ids)
    for name, payload, row in zip(ids, payloads, columns, strict=True):
        point = stored.get(str(name))
        if point is None or (point.payload or {}) != payload:
            return False
        there = point.vector if isinstance(point.vector, dict) else {"": point.vector}
        if not all(_is_same(there.get(key), vector) for key, vector in zip(vectors, row, strict=True)):
            return False
    return True


def _is_same(stored: Any, sent: Any) -> bool:
    """Compare a vector that a collection gives with one that it was sent; one of cosine distance has unit length."""
    if isinstance(sent, models.SparseVector):
        if not isinstance(stored, models.SparseVector):
            return not sent.indices
        pairs = [sorted(zip(one.indices, one.values, strict=True)) for one in (stored, sent)]
        return [at for at, _ in pairs[0]] == [at for at, _ in pairs[1]] and np.allclose(
            [by for _, by in pairs[0]], [by for _, by in pairs[1]], rtol=CLOSE
        )
    if stored is None or np.shape(stored) != np.shape(sent):
        return False
    held, wanted = np.asarray(stored, np.float64), np.asarray(sent, np.float64)
    lengths = np.linalg.norm(wanted, axis=-1, keepdims=True)
    unit = wanted / np.where(lengths > 0, lengths, 1)
    return any(
        bool(np.abs(held - one).max(initial=0) <= CLOSE_HALF * np.abs(one).max(initial=0)) for one in (wanted, unit)
    )
