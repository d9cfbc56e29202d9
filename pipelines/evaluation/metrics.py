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

    A query without documents scores 0.
    """
    import ir_measures

    measures = {name: ir_measures.parse_measure(measure) for name, measure in MEASURES.items()}
    means = ir_measures.calc_aggregate(list(measures.values()), _qrels(judgements), _scored(run))
    return {name: float(means[measure]) for name, measure in measures.items()}


def measure_queries(judgements: Judgements, run: Run) -> dict[str, dict[str, float]]:
    """Measure a run query by query: metric -> query -> value, 0 to 1, over all judged queries."""
    import ir_measures

    measures = {ir_measures.parse_measure(measure): name for name, measure in MEASURES.items()}
    values: dict[str, dict[str, float]] = {name: dict.fromkeys(judgements, 0.0) for name in MEASURES}
    for found in ir_measures.iter_calc(list(measures), _qrels(judgements), _scored(run)):
        values[measures[found.measure]][found.query_id] = float(found.value)
    return values


def _qrels(judgements: Judgements) -> dict[str, dict[str, int]]:
    return {query: dict(grades) for query, grades in judgements.items()}


def _scored(run: Run) -> dict[str, dict[str, float]]:
    """Give documents scores that fall by 1 with each rank.

    The order is what counts: the evaluator sorts by score, and so documents of equal scores stay as the engine gave
    them.
    """
    return {
        query: {document: float(len(documents) - rank) for rank, document in enumerate(documents)}
        for query, documents in run.items()
    }
