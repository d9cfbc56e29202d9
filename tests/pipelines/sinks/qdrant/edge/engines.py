"""The same random points in both embedded engines: dense, sparse with IDF, and token vectors."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from pipelines.sinks.qdrant.client import open_folder

NAME = "both"
DIM, TOKEN_DIM, VOCABULARY = 16, 8, 300
TOLERANCE = 1e-4


class Engines:
    """Both clients; ``edge`` is compared with ``local``."""

    def __init__(self, folder: Path, distance: models.Distance = models.Distance.COSINE, seed: int = 7) -> None:
        self.random = np.random.default_rng(seed)
        self.folder = folder
        # In memory, which saves a wait for the disk at each point.
        self.edge, self.local = open_folder(str(folder / "edge"), "edge"), QdrantClient(":memory:")
        max_sim = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
        for client in self.both:
            client.create_collection(
                NAME,
                vectors_config={
                    "dense": models.VectorParams(size=DIM, distance=distance),
                    "tokens": models.VectorParams(
                        size=TOKEN_DIM,
                        distance=models.Distance.COSINE,
                        multivector_config=max_sim,
                        hnsw_config=models.HnswConfigDiff(m=0),
                    ),
                },
                sparse_vectors_config={"sparse": models.SparseVectorParams(modifier=models.Modifier.IDF)},
                metadata={"made": "by a test"},
            )

    @property
    def both(self) -> tuple[QdrantClient, QdrantClient]:
        return self.edge, self.local

    def close(self) -> None:
        for client in self.both:
            client.close()

    def reopen(self) -> None:
        self.edge.close()
        self.edge = open_folder(str(self.folder / "edge"))

    def dense(self) -> list[float]:
        vector: list[float] = self.random.standard_normal(DIM).astype(np.float32).tolist()
        return vector

    def tokens(self) -> list[list[float]]:
        size = (int(self.random.integers(1, 6)), TOKEN_DIM)
        vectors: list[list[float]] = self.random.standard_normal(size).astype(np.float32).tolist()
        return vectors

    def sparse(self) -> models.SparseVector:
        terms = np.unique(np.minimum(self.random.zipf(1.3, int(self.random.integers(3, 30))), VOCABULARY) - 1)
        self.random.shuffle(terms)
        values = self.random.uniform(0.2, 2, len(terms)).astype(np.float32)
        return models.SparseVector(indices=terms.tolist(), values=values.tolist())

    def point(self, number: int) -> models.PointStruct:
        """A new random point; every third id is a UUID, and every seventh point has no sparse vector."""
        vectors: dict[str, Any] = {"dense": self.dense(), "tokens": self.tokens()}
        if number % 7:
            vectors["sparse"] = self.sparse()
        payload = {
            "number": number,
            "half": number / 2,
            "lang": ["de", "en", "fr"][number % 3],
            "tags": [f"t{number % 4}", f"t{number % 5}"][: number % 3],
            "nested": {"deep": {"n": number % 6}},
            "when": f"20{number % 30:02}-01-02T03:04:05Z",
            "odd": bool(number % 2),
            "text": f"Grüße, {number} 😀",
            **({"maybe": [None, 5][number % 2]} if number % 5 else {}),
        }
        return models.PointStruct(id=id_of(number), vector=vectors, payload=payload)

    def write(self, *numbers: int) -> None:
        points = [self.point(number) for number in numbers]
        for client in self.both:
            client.upsert(NAME, points, wait=True)


def id_of(number: int) -> int | str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))) if number % 3 == 0 else number


@contextmanager
def engines(folder: Path, points: int = 0, **options: Any) -> Iterator[Engines]:
    opened = Engines(folder, **options)
    try:
        if points:
            opened.write(*range(points))
        yield opened
    finally:
        opened.close()


def assert_same_answers(edge: list[Any], local: list[Any]) -> None:
    """The same points with the same scores, in the same order but for equal scores."""
    assert len(edge) == len(local)
    assert [point.score for point in edge] == pytest.approx([point.score for point in local], abs=TOLERANCE, rel=1e-4)
    scores = {point.id: point.score for point in local}
    assert {point.id: point.score for point in edge} == pytest.approx(scores, abs=TOLERANCE, rel=1e-4)
    for here, there in zip(edge, local, strict=True):
        assert here.id == there.id or abs(scores[here.id] - there.score) < TOLERANCE


def assert_same_points(edge: QdrantClient, local: QdrantClient) -> int:
    """The same points in the same order, with the same payloads and vectors; tells how many."""
    here, there = (
        {
            "points": [point for page in pages(client) for point in page],
            "sizes": [len(page) for page in pages(client)],
        }
        for client in (edge, local)
    )
    assert here["sizes"] == there["sizes"]
    for one, other in zip(here["points"], there["points"], strict=True):
        assert (one.id, one.payload) == (other.id, other.payload)
        assert_same_vectors(one.vector, other.vector)
    return len(here["points"])


def assert_same_vectors(edge: Any, local: Any) -> None:
    assert edge.keys() == local.keys()
    for name, vector in local.items():
        if isinstance(vector, models.SparseVector):
            assert dict(zip(edge[name].indices, edge[name].values, strict=True)) == pytest.approx(
                dict(zip(vector.indices, vector.values, strict=True))
            )
        else:
            np.testing.assert_allclose(_units(edge[name]), _units(vector), atol=1e-6)


def _units(vectors: Any) -> Any:
    """Scale to unit length: of cosine distance, Qdrant keeps unit vectors, qdrant-client those that it was given."""
    rows = np.asarray(vectors)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def pages(client: QdrantClient, size: int = 37) -> Iterator[list[models.Record]]:
    after: Any = None
    while True:
        page, after = client.scroll(NAME, limit=size, offset=after, with_payload=True, with_vectors=True)
        yield page
        if after is None:
            return
