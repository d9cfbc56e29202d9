from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config.file import load_config
from pipelines.config.job import JobConfig
from pipelines.errors import ConfigError, PreflightError
from pipelines.run.placement.nodes import READ_CPUS, Machines
from pipelines.run.placement.pools import Pool, place_in_one_process, place_pools
from pipelines.run.stages.stage import Resources
from tests.pipelines.run.placement.even_nodes import even_nodes

DENSE = {"name": "dense", "model": "sentence-transformers/all-MiniLM-L6-v2"}
BM25 = {"name": "bm25", "model": "Qdrant/bm25"}
SECOND = {**DENSE, "name": "second"}


def pools(machines: Machines, *embeddings: dict[str, Any], **compute: Any) -> list[Pool]:
    return place_pools(job(*embeddings, **compute), machines)


def job(*embeddings: dict[str, Any], **compute: Any) -> JobConfig:
    return load_config(
        {
            "source": {"path": "x.jsonl"},
            "embeddings": list(embeddings),
            "sink": {"type": "parquet", "path": "out"},
            "compute": compute,
        }
    )


def place(machines: Machines, *embeddings: dict[str, Any], **stages: Any) -> dict[str, Resources]:
    """Resources by embedding."""
    return {one.name: pool.resources for pool in pools(machines, *embeddings, stages=stages) for one in pool.embeddings}


@given(st.integers(1, 200), st.integers(1, 20), st.integers(0, 8))
def test_the_chosen_placement_always_leaves_room_for_readers(cores: int, nodes: int, gpus: int) -> None:
    machines = even_nodes(cpus=max(4, cores * nodes), gpus=gpus, nodes=nodes, cores_a_node=cores)
    placed = pools(machines, DENSE, SECOND, BM25)
    resources = [pool.resources for pool in placed]
    assert sum((one.workers or 0) * one.cpus for one in resources) <= machines.cpus - READ_CPUS
    assert sum((one.workers or 0) * (one.gpus or 0) for one in resources) <= gpus


def test_a_laptop_gives_one_dense_worker_all_cores_as_threads() -> None:
    placements = place(even_nodes(cpus=4, gpus=0, nodes=1, cores_a_node=2), DENSE, BM25)
    assert (placements["dense"].workers, placements["dense"].threads) == (1, 2)
    assert placements["bm25"].workers == 1


def test_a_large_machine_gets_several_workers_of_at_most_eight_threads() -> None:
    placement = place(even_nodes(cpus=64, gpus=0, nodes=1, cores_a_node=64), DENSE)["dense"]
    assert (placement.workers or 0) * (placement.threads or 0) == 64 and (placement.threads or 0) <= 8


def test_gpus_get_a_worker_each() -> None:
    placement = place(even_nodes(cpus=32, gpus=4, nodes=1, cores_a_node=32), DENSE)["dense"]
    assert (placement.workers, placement.gpus) == (4, 1)


def test_what_the_job_says_is_kept() -> None:
    placements = place(
        even_nodes(cpus=8, gpus=0, nodes=1, cores_a_node=8), DENSE, dense={"workers": 3, "cpus": 1, "threads": 2}
    )
    assert placements["dense"] == Resources(workers=3, cpus=1, gpus=0, threads=2, actors=True)


def test_a_job_that_would_hang_is_refused() -> None:
    with pytest.raises(PreflightError, match=r"hang.*compute\.stages"):
        place(even_nodes(cpus=2, gpus=0, nodes=1, cores_a_node=2), DENSE, dense={"workers": 2, "cpus": 1})


def test_gpus_that_are_not_there_are_refused() -> None:
    with pytest.raises(PreflightError, match=r"asks for 1 GPU \(dense: 1 x 1\) and Ray sees 0"):
        place(even_nodes(cpus=8, gpus=0, nodes=1, cores_a_node=8), DENSE, dense={"gpus": 1})


LAPTOP = even_nodes(cpus=8, gpus=0, nodes=1, cores_a_node=8)


def members(placed: list[Pool]) -> dict[str, list[str]]:
    return {pool.name: [one.name for one in pool.embeddings] for pool in placed}


def test_embeddings_on_cpus_share_one_pool_with_all_cores() -> None:
    placed = pools(LAPTOP, DENSE, BM25, SECOND)
    assert members(placed) == {"dense, bm25, second": ["dense", "bm25", "second"]}
    assert (placed[0].resources.workers, placed[0].resources.threads) == (1, 8)


def test_each_model_on_gpus_has_a_pool_of_its_own_and_the_others_share_one() -> None:
    placed = pools(even_nodes(cpus=32, gpus=4, nodes=1, cores_a_node=32), DENSE, BM25, SECOND)
    assert members(placed) == {"dense": ["dense"], "bm25": ["bm25"], "second": ["second"]}
    assert [pool.resources.gpus for pool in placed] == [1, 0, 1]
    assert [pool.runtime(pool.embeddings[0])["cuda"] for pool in placed] == [True, False, True]


def test_an_actor_with_several_gpus_runs_its_model_on_all_of_them() -> None:
    machines = even_nodes(cpus=32, gpus=4, nodes=1, cores_a_node=32)
    placed = pools(machines, DENSE, BM25, stages={"dense": {"gpus": 2, "workers": 2}})
    told = {pool.name: pool.runtime(pool.embeddings[0]).get("device_ids") for pool in placed}
    assert told == {"dense": [0, 1], "bm25": None}


def test_a_model_whose_precision_is_for_cpus_stays_off_gpus() -> None:
    quantized = {**SECOND, "precision": "int8"}
    machines = even_nodes(cpus=32, gpus=4, nodes=1, cores_a_node=32)
    placed = {one.name: pool for pool in pools(machines, DENSE, BM25, quantized) for one in pool.embeddings}
    assert [placed[name].resources.gpus for name in ("dense", "bm25", "second")] == [1, 0, 0]
    told = {
        name: pool.runtime(one)["cuda"] for name, pool in placed.items() for one in pool.embeddings if one.name == name
    }
    assert told == {"dense": True, "bm25": False, "second": False}


def test_models_share_gpus_of_which_there_are_not_enough() -> None:
    third = {**DENSE, "name": "third"}
    placed = pools(even_nodes(cpus=32, gpus=1, nodes=1, cores_a_node=32), DENSE, SECOND, third)
    assert [pool.resources.gpus for pool in placed] == [0.3333, 0.3333, 0.3333]
    assert [pool.resources.workers for pool in placed] == [1, 1, 1]


def test_an_embedding_that_stages_places_has_a_pool_of_its_own() -> None:
    placed = pools(LAPTOP, DENSE, BM25, SECOND, stages={"second": {"threads": 3}})
    assert members(placed) == {"dense, bm25": ["dense", "bm25"], "second": ["second"]}
    assert placed[1].resources.threads == 3


def test_pools_group_embeddings_and_stages_place_them() -> None:
    compute = {
        "pools": {"text": ["bm25", "dense"]},
        "stages": {"text": {"workers": 2, "token_budget": 500}, "dense": {"token_budget": 700}},
    }
    placed = pools(LAPTOP, DENSE, BM25, SECOND, **compute)
    assert members(placed) == {"text": ["dense", "bm25"], "second": ["second"]}
    assert placed[0].resources.workers == 2
    assert [placed[0].runtime(one)["token_budget"] for one in placed[0].embeddings] == [700, 500]


@pytest.mark.parametrize(
    ("compute", "words"),
    [
        ({"pools": {"text": ["dens"]}}, r"compute\.pools\.text: 'dens' is no embedding of this job \(dense, bm25\)"),
        ({"pools": {"a": ["dense"], "b": ["dense"]}}, "'dense' is named twice"),
        ({"pools": {"dense": ["bm25"]}}, "'dense' is the name of an embedding"),
        ({"pools": {"text": []}}, r"compute\.pools\.text"),
        ({"stages": {"text": {"workers": 1}}}, r"'text' is no embedding of this job \(dense, bm25\)"),
        (
            {"pools": {"text": ["dense"]}, "stages": {"dense": {"workers": 2}}},
            r"dense is in the pool text; place that one, under compute\.stages\.text",
        ),
        ({"engine": "local", "address": "127.0.0.1:6379"}, "engine local runs in this process alone"),
        ({"engine": "dask"}, r"compute\.engine"),
    ],
)
def test_pools_and_stages_that_do_not_go_together_are_refused(compute: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        job(DENSE, BM25, **compute)


def test_in_one_process_each_model_has_all_threads_unless_the_job_says_so() -> None:
    placed = place_in_one_process(job(DENSE, BM25, SECOND, stages={"second": {"threads": 3}}))
    assert members(placed) == {"dense, bm25": ["dense", "bm25"], "second": ["second"]}
    assert [pool.runtime(pool.embeddings[0]) for pool in placed] == [
        {"threads": None, "cuda": "auto", "token_budget": None},
        {"threads": 3, "cuda": "auto", "token_budget": None},
    ]
