"""What a place holds, row by row, and how two places differ."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.dataset as pads
from qdrant_client import QdrantClient

from pipelines.sinks.qdrant.client import open_folder
from tests.chaos.job import ChaosJob

Sparse = Mapping[int, float]
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Point:
    """One row: all that is stored beside the vectors as text, and the vectors."""

    facts: str
    dense: np.ndarray[Any, np.dtype[np.float32]]
    sparse: Sparse

    def is_close(self, other: Point) -> bool:
        """Whether it says the same, and its vectors are within the tolerance."""
        if self.facts != other.facts or self.sparse.keys() != other.sparse.keys():
            return False
        near = all(abs(value - other.sparse[term]) <= TOLERANCE for term, value in self.sparse.items())
        return near and bool(np.allclose(self.dense, other.dense, rtol=0, atol=TOLERANCE))

    def same_bits(self, other: Point) -> bool:
        """Whether the vectors are the same to the last bit."""
        return self.dense.tobytes() == other.dense.tobytes() and self.sparse == other.sparse


Points = dict[str, Point]


def read_points(job: ChaosJob) -> tuple[Points, int]:
    """Read a place's points by id, and how many rows too many there are under an id that another has."""
    rows = _parquet_rows(job) if job.kind == "parquet" else _qdrant_rows(job)
    twice = sum(count - 1 for count in Counter(name for name, _ in rows).values())
    return dict(rows), twice


def compare(points: Points, undisturbed: Points) -> dict[str, Any]:
    """Count what is missing, what is too much and what differs; ``bits``: all vectors are the same bytes."""
    both = points.keys() & undisturbed.keys()
    return {
        "missing": len(undisturbed.keys() - points.keys()),
        "extra": len(points.keys() - undisturbed.keys()),
        "different": sum(not points[name].is_close(undisturbed[name]) for name in both),
        "bits": all(points[name].same_bits(undisturbed[name]) for name in both),
    }


def _parquet_rows(job: ChaosJob) -> list[tuple[str, Point]]:
    files = [str(file) for file in sorted(job.out.glob("part-*.parquet"))]
    rows = []
    for row in pads.dataset(files).to_table().to_pylist():
        dense, sparse = np.array(row.pop("dense"), np.float32), row.pop("bm25")
        terms = dict(zip(sparse["indices"], sparse["values"], strict=True))
        rows.append((row["id"], Point(json.dumps(row, sort_keys=True), dense, terms)))
    return rows


def _qdrant_rows(job: ChaosJob) -> list[tuple[str, Point]]:
    client = QdrantClient(url=job.url) if job.kind == "server" else open_folder(str(job.out))
    rows, after = [], None
    try:
        while True:
            found, after = client.scroll(job.collection, limit=500, offset=after, with_payload=True, with_vectors=True)
            for point in found:
                vectors: Any = point.vector
                terms = dict(zip(vectors["bm25"].indices, vectors["bm25"].values, strict=True))
                facts = json.dumps(point.payload, sort_keys=True)
                rows.append((str(point.id), Point(facts, np.array(vectors["dense"], np.float32), terms)))
            if after is None:
                break
        assert client.count(job.collection, exact=True).count == len(rows)
    finally:
        client.close()
    return rows
