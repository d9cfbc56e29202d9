"""The points of a collection: their vectors, their number and their bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from qdrant_client import QdrantClient, models

from embedders.arrow import number_type
from embedders.base import VectorSpec
from pipelines.sinks.qdrant.retry import call

T = TypeVar("T")

SECONDS_OF_PATIENCE = 60.0
SAMPLE, SAMPLE_BATCH = 1000, 100
# A uint32 index and a float32 value.
SPARSE_ENTRY_BYTES = 8


def pages(client: QdrantClient, collection: str, size: int) -> Iterator[list[models.Record]]:
    """Yield all points with payload and vectors, so many at a time; raises SinkError if a server does not answer."""
    after: Any = None
    while True:
        page, after = _page(client, collection, size, after)
        if page:
            yield page
        if after is None:
            return


def bytes_a_point(client: QdrantClient, collection: str, vectors: Mapping[str, VectorSpec]) -> dict[str, float]:
    """Return the mean bytes of each vector over the first 1,000 points, before any index or quantization."""
    totals, points = dict.fromkeys(vectors, 0), 0
    for page in islice(pages(client, collection, SAMPLE_BATCH), SAMPLE // SAMPLE_BATCH):
        points += len(page)
        for point in page:
            held: Any = point.vector or {}
            for name, spec in vectors.items():
                if name in held:
                    totals[name] += vector_bytes(held[name], spec)
    return {name: total / max(points, 1) for name, total in totals.items()}


def vector_bytes(vector: Any, spec: VectorSpec) -> int:
    """Count the bytes of one vector: 8 for an entry of a sparse one, else those of its numbers."""
    if spec.kind == "sparse":
        return SPARSE_ENTRY_BYTES * len(vector.indices)
    size = number_type(spec.arrow_type).bit_width // 8
    numbers = sum(map(len, vector)) if spec.kind == "multivector" else len(vector)
    return int(numbers * size)


def count_points(client: QdrantClient, collection: str) -> int:
    """Count the points, exactly."""
    return int(_ask(collection, lambda: client.count(collection, exact=True)).count)


def count_indexed(client: QdrantClient, collection: str) -> int:
    """Count the vectors that a server has put into an index."""
    return _ask(collection, lambda: client.get_collection(collection)).indexed_vectors_count or 0


def _page(client: QdrantClient, collection: str, size: int, after: Any) -> tuple[list[models.Record], Any]:
    return _ask(
        collection,
        lambda: client.scroll(collection, limit=size, offset=after, with_payload=True, with_vectors=True),
    )


def _ask(collection: str, request: Callable[[], T]) -> T:
    return call(request, what=f"reading {collection}", seconds=SECONDS_OF_PATIENCE)
