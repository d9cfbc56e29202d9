"""Which ways are measured, and how deep each is asked."""

from __future__ import annotations

from typing import Any

import numpy as np

from embedders.arrow import SPARSE_TYPE, dense_type, multivector_type
from embedders.base import VectorSpec
from pipelines.config.search import DEFAULT_RRF_K, SearchConfig
from pipelines.evaluation.ways import Searchable, Way, choose_ways

DENSE = VectorSpec("dense", dense_type(8, np.float32), dim=8)
TOKENS = VectorSpec("multivector", multivector_type(8, np.float32), dim=8)
TERMS = VectorSpec("sparse", SPARSE_TYPE)


def there(documents: int = 5000, **vectors: VectorSpec) -> Searchable:
    """As a job's collection: multivectors beside dense vectors have no index; X_multivector was folded into X."""
    beside = any(spec.kind == "dense" for spec in vectors.values())
    rescoring = frozenset(name for name, spec in vectors.items() if spec.kind == "multivector" and beside)
    return Searchable(
        vectors=vectors,
        finders=[name for name in vectors if name not in rescoring],
        rescoring=rescoring,
        folded={name: f"{name}_multivector" for name in vectors if f"{name}_multivector" in vectors},
        documents=documents,
    )


def names(searchable: Searchable, searches: dict[str, SearchConfig] | None = None) -> list[str]:
    return [way.name for way in choose_ways(searchable, searches or {})[0]]


def test_one_vector_has_one_way() -> None:
    assert names(there(bm25=TERMS)) == ["bm25"]


def test_two_vectors_are_fused_in_both_ways_and_three_in_pairs_too() -> None:
    assert names(there(dense=DENSE, bm25=TERMS)) == ["dense", "bm25", "dense+bm25 rrf", "dense+bm25 dbsf"]
    assert names(there(a=DENSE, b=DENSE, c=TERMS))[3:] == ["a+b+c rrf", "a+b+c dbsf", "a+b rrf", "a+c rrf", "b+c rrf"]


def test_reciprocal_ranks_are_measured_with_each_k_and_the_default_once() -> None:
    ways, _ = choose_ways(there(dense=DENSE, bm25=TERMS), {}, [60, DEFAULT_RRF_K, 5, 60])
    fused = {way.name: way.search.rrf_k for way in ways if way.fuses}
    assert fused == {
        "dense+bm25 rrf": DEFAULT_RRF_K,
        "dense+bm25 rrf k=60": 60,
        "dense+bm25 rrf k=5": 5,
        "dense+bm25 dbsf": None,
    }
    three, _ = choose_ways(there(a=DENSE, b=DENSE, c=TERMS), {}, [60])
    assert [way.name for way in three if way.search.rrf_k == 60] == [
        f"{pair} rrf k=60" for pair in ("a+b+c", "a+b", "a+c", "b+c")
    ]


def test_a_kept_multivector_rescores_what_it_was_folded_into() -> None:
    found = names(there(colbert=DENSE, colbert_multivector=TOKENS))
    assert found == ["colbert", "colbert_multivector", *(f"colbert>maxsim@{depth}" for depth in (100, 200, 500, 1000))]
    assert names(there(450, colbert=DENSE, colbert_multivector=TOKENS))[2:] == [
        "colbert>maxsim@100",
        "colbert>maxsim@200",
    ]
    assert names(there(46, colbert=DENSE, colbert_multivector=TOKENS)) == ["colbert", "colbert_multivector"]


def test_a_multivector_of_its_own_rescores_dense_candidates() -> None:
    assert names(there(150, dense=DENSE, bm25=TERMS, colbert=TOKENS))[-1] == "dense>colbert@100"
    assert names(there(bm25=TERMS, colbert=TOKENS)) == ["bm25", "colbert", "bm25+colbert rrf", "bm25+colbert dbsf"]


def test_many_documents_are_not_compared_token_by_token() -> None:
    ways, notices = choose_ways(there(20_000, colbert=DENSE, colbert_multivector=TOKENS), {})
    assert "colbert_multivector" not in [way.name for way in ways]
    assert notices == ["colbert_multivector alone is left out: it has no index, and there are over 10,000 documents"]


def test_the_jobs_own_searches_come_last_and_keep_their_settings() -> None:
    searches = {"hybrid": SearchConfig(weights=None), "bm25": SearchConfig(using=["dense"], hnsw_ef=7)}
    ways = choose_ways(there(dense=DENSE, bm25=TERMS), searches)[0][-2:]
    assert [way.name for way in ways] == ["hybrid", "bm25 (searches)"]
    assert ways[0].search.using == ["dense", "bm25"] and ways[1].search.hnsw_ef == 7


def deep(**keys: Any) -> tuple[int | None, int]:
    search, limit = Way("w", SearchConfig.model_validate(keys)).deep
    return search.candidates, limit


def test_a_second_stage_has_no_more_hits_than_candidates() -> None:
    assert deep(using=["a"]) == (None, 1000)
    assert deep(using=["a", "b"]) == (1000, 1000)
    assert deep(using=["a"], rescore="b", candidates=200) == (200, 200)
    assert deep(using=["a"], rescore="b") == (100, 100)
    assert deep(using=["a"], rescore="b", candidates=5000) == (5000, 1000)


def test_sparse_vectors_have_no_graph() -> None:
    searchable = there(dense=DENSE, bm25=TERMS, colbert=TOKENS)
    graphs = {way.name: searchable.has_graph(way) for way in choose_ways(searchable, {})[0]}
    assert not graphs["bm25"] and not graphs["colbert"]
    assert graphs["dense"] and graphs["dense+bm25 rrf"] and graphs["dense>colbert@100"]
    assert not searchable.has_graph(Way("w", SearchConfig(using=["dense"], exact=True)))
