"""Whether the index finds what an exact search finds: recall@10 of the vectors that have an HNSW graph."""

from __future__ import annotations

from typing import Any

from more_itertools import chunked
from qdrant_client import models

from pipelines.reindex.verify.mending import INDEX
from pipelines.reindex.verify.result import Check, judged, skipped
from pipelines.reindex.verify.sample import Sparse
from pipelines.reindex.verify.subject import Subject
from pipelines.sinks.qdrant.vectors import rescoring_vectors

DEPTH = 10
QUERIES_A_REQUEST = 20
# Scores of equal points differ by this much between two ways to compute them, relative to the score.
CLOSE = 1e-5


def check_recall(subject: Subject) -> list[Check]:
    """Search with vectors of sampled points, exactly and with the index: a check an indexed vector.

    Sparse vectors are always searched exactly, and those that only rescore have no index.
    """
    exact_anyway = rescoring_vectors(subject.info)
    indexed = [name for name, spec in subject.job.vectors.items() if spec.kind != "sparse" and name not in exact_anyway]
    if not indexed:
        return [skipped("recall@10", "no vector has an index; sparse ones are searched exactly")]
    return [_check(subject, name) for name in indexed]


def _check(subject: Subject, name: str) -> Check:
    vectors = [point.vectors[name] for point in subject.sampled if name in point.vectors][: subject.limits.searches]
    queries = [vector.tolist() for vector in vectors if not isinstance(vector, Sparse)]
    label = f"recall@10 {name}"
    if not queries:
        return skipped(label, "no point to search with")
    lower_is_better = subject.job.vectors[name].distance in ("euclid", "manhattan")
    recalls = []
    for some in chunked(queries, QUERIES_A_REQUEST):
        exact, approximate = (_search(subject, name, some, exact=exact) for exact in (True, False))
        recalls += [_recall(*pair, lower_is_better) for pair in zip(exact, approximate, strict=True)]
    recall, least = sum(recalls) / len(recalls), subject.limits.min_recall
    indexed = (subject.new.info() or subject.info).indexed_vectors_count or 0
    figures = {"queries": len(recalls), "recall": round(recall, 4), "indexed_vectors": indexed}
    found = f"{recall:.4f}, {len(recalls):,} queries" + ("" if indexed else " (too small for an index)")
    return judged(label, recall >= least, found, f">= {least:g}", figures, [], INDEX)


def _search(subject: Subject, name: str, queries: list[Any], *, exact: bool) -> list[list[models.ScoredPoint]]:
    params = models.SearchParams(exact=True) if exact else None
    requests = [models.QueryRequest(query=query, using=name or None, limit=DEPTH, params=params) for query in queries]
    answers = subject.ask(
        lambda: subject.client.query_batch_points(subject.new.name, requests), f"searching {name} for its recall"
    )
    return [answer.points for answer in answers]


def _recall(exact: list[models.ScoredPoint], found: list[models.ScoredPoint], lower_is_better: bool) -> float:
    """Count the exact hits that were found; one as near as the last of them is as good, since equal points abound."""
    if not exact:
        return 1.0
    ids, last = {point.id for point in exact}, exact[-1].score
    room = CLOSE * max(abs(last), CLOSE)
    near = [point.score <= last + room if lower_is_better else point.score >= last - room for point in found]
    good = sum(close or point.id in ids for point, close in zip(found, near, strict=True))
    return min(1.0, good / len(exact))
