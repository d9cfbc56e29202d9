"""Retrieval metrics of ranked documents, all by ir_measures (MacAvaney et al., 2022)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

# Names for people -> names in ir_measures.
MEASURES = {
    "nDCG@10": "nDCG@10",
    "MRR@10": "RR@10",
    "recall@10": "R@10",
    "recall@100": "R@100",
    "recall@1000": "R@1000",
}
DEPTH = 1000

Run = Mapping[str, Sequence[str]]
Judgements = Mapping[str, Mapping[str, int]]


def first_of_each(documents: Iterable[str]) -> list[str]:
    """Keep each document at its first rank only, where several of its chunks are among the hits."""
    return list(dict.fromkeys(documents))


def measure_run(judgements: Judgements, run: Run) -> dict[str, float]:
    """Measure a run: documents by query, best first, each once. Means over all judged queries, by metric, 0 to 1.

    The order is what counts: the evaluator sorts by score, and gets one that falls by 1 with each rank, so that
    documents of equal scores stay as the engine gave them. A query without documents scores 0.
    """
    import ir_measures

    measures = {name: ir_measures.parse_measure(measure) for name, measure in MEASURES.items()}
    scored = {
        query: {document: float(len(documents) - rank) for rank, document in enumerate(documents)}
        for query, documents in run.items()
    }
    qrels = {query: dict(grades) for query, grades in judgements.items()}
    means = ir_measures.calc_aggregate(list(measures.values()), qrels, scored)
    return {name: float(means[measure]) for name, measure in measures.items()}
