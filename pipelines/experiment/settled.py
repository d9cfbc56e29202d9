"""Answers queries the same way each time: engines give hits of equal scores in an order of the moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.config.search import SearchConfig
from pipelines.evaluation.engines.choose import Ask, CollectionEngine
from pipelines.evaluation.measure import in_order
from pipelines.search import Hit

# Hits that are asked for at least, so that those of equal scores are not cut before they are in order.
LEAST = 100


class SettledEngine(CollectionEngine):
    """The collection itself, with hits of equal scores in the order of their ids, which say nothing of relevance.

    Reciprocal ranks are fused here, by Qdrant's formula, as they hang on the order of equal scores, of which BM25 gives
    many. Fusions with weights or by scores are the collection's.
    """

    def prepare(self, search: SearchConfig, vectors: Mapping[str, Any], limit: int, payload: list[str]) -> Ask:
        """See ``Engine``."""
        if search.rescore is not None:
            # All candidates, in order: of those that the second stage finds equal none is cut before.
            depth = search.depth(limit)
            staged = super().prepare(search.model_copy(update={"candidates": depth}), vectors, depth, payload)
            return lambda: in_order(staged())[:limit]
        if search.weights is not None or (search.fusion != "rrf" and search.using[1:]):
            return super().prepare(search, vectors, limit, payload)
        if len(search.using) == 1:
            ask = super().prepare(search, vectors, max(limit, LEAST), payload)
            return lambda: in_order(ask())[:limit]
        depth = search.depth(limit)
        alone = [search.model_copy(update={"using": [name]}) for name in search.using if vectors[name] is not None]
        asks = [self.prepare(one, vectors, depth, payload) for one in alone]
        return lambda: fuse((ask() for ask in asks), search.settled_rrf_k)[:limit]


def fuse(found: Iterable[Sequence[Hit]], k: int) -> list[Hit]:
    """Fuse hits by reciprocal ranks: one of rank r, the first being 0, gets 1 / (k + r) of each list."""
    scores: dict[str, float] = {}
    hits: dict[str, Hit] = {}
    for some in found:
        for rank, hit in enumerate(some):
            scores[hit.id] = scores.get(hit.id, 0.0) + 1 / (k + rank)
            hits[hit.id] = hit
    return in_order([Hit(name, score, hits[name].payload) for name, score in scores.items()])
