"""Requests to qdrant-client's engine and to a copy in Qdrant's own: the same points, the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from pipelines.config.search import SearchConfig
from pipelines.evaluation.engines.edge import EdgeCopy, Original
from pipelines.evaluation.measure import in_order
from pipelines.search.hits import Hit
from pipelines.search.request import build_request
from pipelines.sinks.qdrant.config import QdrantSinkConfig

pytest.importorskip("qdrant_edge", reason="needs qdrant-edge-py, which has no wheel for this platform")

POINTS, TOKENS = 300, 4
MAXSIM = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
SINK = QdrantSinkConfig(type="qdrant", path="unused", collection="synthetic")


class Both:
    """Synthetic points in a collection, and its copy."""

    def __init__(self, folder: Path) -> None:
        self.random = np.random.default_rng(3)
        self.folder = folder
        self.client = QdrantClient(":memory:")
        cosine, dot = models.Distance.COSINE, models.Distance.DOT
        self.client.create_collection(
            "synthetic",
            vectors_config={
                "dense": models.VectorParams(size=16, distance=cosine),
                "dot": models.VectorParams(size=8, distance=dot),
                "tokens": models.VectorParams(size=8, distance=cosine, multivector_config=MAXSIM),
            },
            sparse_vectors_config={"terms": models.SparseVectorParams(modifier=models.Modifier.IDF)},
        )
        points = [
            models.PointStruct(id=number, vector=self.query(), payload={"document_id": f"d{number}", "other": 1})
            for number in range(POINTS)
        ]
        self.client.upsert("synthetic", points)
        self.copy = self.open(1)

    def open(self, version: int) -> EdgeCopy:
        copied: list[int] = []
        original = Original(self.client, SINK, {"version": version})
        copy = EdgeCopy(self.folder, original, copied.append)
        self.copied = sum(copied)
        return copy

    def query(self) -> dict[str, Any]:
        terms = np.unique(self.random.zipf(1.3, 12) % 60)
        return {
            "dense": self.random.normal(size=16).tolist(),
            "dot": self.random.normal(size=8).tolist(),
            "tokens": self.random.normal(size=(TOKENS, 8)).tolist(),
            "terms": models.SparseVector(
                indices=terms.tolist(), values=self.random.uniform(0.2, 2, len(terms)).tolist()
            ),
        }

    def answers(self, way: SearchConfig, limit: int) -> tuple[list[Hit], list[Hit]]:
        request = build_request(way, self.query(), hits=limit)
        assert request is not None
        found = self.client.query_points("synthetic", limit=limit, with_payload=["document_id"], **request).points
        here = [Hit(str(point.id), point.score, point.payload or {}) for point in found]
        return here, self.copy.prepare(request, limit=limit, with_payload=["document_id"])()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    made = Both(tmp_path_factory.mktemp("copy") / "hnsw")
    yield made
    made.copy.close()
    made.client.close()


@pytest.mark.parametrize(
    "keys",
    [
        {"using": ["dense"]},
        {"using": ["dot"], "exact": True},
        {"using": ["terms"]},
        {"using": ["tokens"]},
        {"using": ["dense", "terms"]},
        {"using": ["dense", "terms", "dot"], "fusion": "dbsf"},
        {"using": ["dense", "terms"], "weights": [3, 1]},
        {"using": ["dense", "terms"], "rrf_k": 60, "hnsw_ef": 200},
        {"using": ["dot"], "rescore": "tokens", "candidates": 50},
        {"using": ["dense", "terms"], "rescore": "tokens", "candidates": 80},
    ],
    ids=str,
)
def test_answers_agree_on_synthetic_points(both: Both, keys: dict[str, Any]) -> None:
    # So many that no tie is cut in two.
    limit = 50 if "rescore" in keys else POINTS
    for _ in range(3):
        here, there = both.answers(SearchConfig.model_validate(keys), limit)
        assert len(here) == len(there) > 20
        mine, theirs = ({hit.document_id: hit.score for hit in hits} for hits in (here, there))
        shared = mine.keys() & theirs.keys()
        # Ties among a fusion's candidates may be cut elsewhere.
        assert (
            len(shared) >= 0.9 * len(here)
            if "rescore" in keys and len(keys["using"]) > 1
            else mine.keys() == theirs.keys()
        )
        assert [mine[name] for name in shared] == pytest.approx([theirs[name] for name in shared], abs=2e-4)
        assert [hit.score for hit in there] == sorted(theirs.values(), reverse=True)


def test_equal_scores_of_a_fusion_have_one_order(both: Both) -> None:
    request = build_request(SearchConfig(using=["dense", "terms"]), both.query(), hits=POINTS)
    assert request is not None
    ask = both.copy.prepare(request, limit=POINTS, with_payload=["document_id"])
    assert len({tuple(hit.id for hit in in_order(ask())) for _ in range(8)}) == 1


def test_a_copy_is_used_again_until_another_collection_is_to_be_copied(both: Both) -> None:
    assert both.copied == POINTS
    both.copy.close()
    both.copy = both.open(1)
    assert (both.copied, both.copy.points) == (0, POINTS)
    both.copy.close()
    both.copy = both.open(2)
    assert (both.copied, both.copy.points) == (POINTS, POINTS)
