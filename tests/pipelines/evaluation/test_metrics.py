"""Metrics against values computed by hand."""

from __future__ import annotations

from math import log2

import pytest

pytest.importorskip("ir_measures", reason="needs the extra evaluate")

from pipelines.evaluation.metrics import first_of_each, measure_run

JUDGEMENTS = {"a": {"d1": 2, "d2": 1, "d3": 0}, "b": {"d1": 1}, "c": {"d4": 1}}
# Of c nothing is found, and nothing else is said of it.
RUN = {"a": ["d2", "d9", "d1"], "b": [*(f"x{number}" for number in range(10)), "d1"]}


def test_metrics_are_those_of_the_textbook_over_all_judged_queries() -> None:
    found = measure_run(JUDGEMENTS, RUN)
    ideal = 2 / log2(2) + 1 / log2(3)
    gained = 1 / log2(2) + 2 / log2(4)
    assert found == pytest.approx(
        {
            "nDCG@10": (gained / ideal + 0 + 0) / 3,
            "MRR@10": (1 + 0 + 0) / 3,
            "recall@10": (1 + 0 + 0) / 3,
            "recall@100": (1 + 1 + 0) / 3,
            "recall@1000": (1 + 1 + 0) / 3,
        }
    )


def test_a_run_without_any_hit_scores_0() -> None:
    assert set(measure_run(JUDGEMENTS, {}).values()) == {0.0}
    assert set(measure_run(JUDGEMENTS, {"a": [], "b": [], "c": []}).values()) == {0.0}


def test_a_relevant_document_that_cannot_be_found_stays_in_the_ideal() -> None:
    found = measure_run({"a": {"here": 1, "gone": 1}}, {"a": ["here", "other"]})
    assert found["nDCG@10"] == pytest.approx(1 / (1 + 1 / log2(3))) == pytest.approx(0.613, abs=5e-4)
    assert (found["MRR@10"], found["recall@10"]) == (1, 0.5)


def test_a_query_without_a_relevant_document_counts_with_0_as_in_trec_eval() -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval", reason="needs pytrec_eval, trec_eval's own code")
    judged, run = {"a": {"d1": 0, "d2": -1}, "b": {"d1": 1}}, {"a": ["d1"], "b": ["d1"]}
    found = measure_run(judged, run)
    assert (found["nDCG@10"], found["MRR@10"], found["recall@10"]) == (0.5, 0.5, 0.5)
    scored = {query: dict.fromkeys(documents, 1.0) for query, documents in run.items()}
    theirs = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.10", "recip_rank"}).evaluate(scored)
    assert theirs == {
        "a": {"ndcg_cut_10": 0, "recip_rank": 0},
        "b": {"ndcg_cut_10": 1, "recip_rank": 1},
    }


def test_the_order_counts_and_not_the_names_of_documents() -> None:
    # trec_eval orders equal scores by name: given equal ones, "z" would come first.
    judged = {"a": {"m": 1}}
    assert measure_run(judged, {"a": ["m", "z"]})["MRR@10"] == 1
    assert measure_run(judged, {"a": ["z", "m"]})["MRR@10"] == 0.5


def test_chunks_count_at_the_first_ones_place() -> None:
    assert first_of_each(["d2", "d1", "d2", "d3", "d1"]) == ["d2", "d1", "d3"]
