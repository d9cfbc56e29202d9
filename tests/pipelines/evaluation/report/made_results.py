"""Results made up for tests of tables, charts and comparisons."""

from __future__ import annotations

from typing import Any

from pipelines.evaluation.report.results import Measurement, Results

DATASET = {
    "name": "mine",
    "split": "test",
    "documents": 5000,
    "queries": 300,
    "corpus_sha256": "c",
    "queries_sha256": "q",
}


def measurement(way: str, index: str = "exact", quality: float = 0.7, **changes: Any) -> Measurement:
    metrics = {"nDCG@10": quality, "MRR@10": quality - 0.02, "recall@10": 0.8, "recall@100": 0.9, "recall@1000": 0.95}
    figures: dict[str, Any] = {
        "metrics": metrics,
        "encode_ms": 8.0,
        "search_ms": 2.5,
        "search_p95_ms": 4.0,
        "bytes_per_document": 1536.0,
        "embed_seconds": 12.3,
        "vectors": ["dense"],
        "search": {"using": ["dense"]},
    }
    return Measurement(way=way, index=index, **{**figures, **changes})


def results(*measurements: Measurement, **changes: Any) -> Results:
    made = list(measurements) or [measurement("dense"), measurement("dense", "HNSW", 0.69)]
    return Results(**{"dataset": DATASET, "measurements": made, "engine": "an engine", **changes})
