from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config.file import load_config
from pipelines.errors import PreflightError
from pipelines.run.placement import READ_CPUS, Cluster, Placement, place_stages

DENSE = {"name": "dense", "model": "sentence-transformers/all-MiniLM-L6-v2"}
BM25 = {"name": "bm25", "model": "Qdrant/bm25"}


def place(cluster: Cluster, *embeddings: dict[str, str], **stages: Any) -> dict[str, Placement]:
    job = {
        "source": {"path": "x.jsonl"},
        "embeddings": list(embeddings),
        "sink": {"type": "parquet", "path": "out"},
        "compute": {"stages": stages},
    }
    return place_stages(load_config(job), cluster)


@given(st.integers(1, 200), st.integers(1, 20), st.integers(0, 8))
def test_the_chosen_placement_always_leaves_room_for_readers(cores: int, nodes: int, gpus: int) -> None:
    cluster = Cluster(cpus=max(4, cores * nodes), gpus=gpus, nodes=nodes, cores_a_node=cores)
    placements = place(cluster, DENSE, {**DENSE, "name": "second"}, BM25) if gpus != 1 else place(cluster, DENSE, BM25)
    assert sum(p.workers * p.cpus for p in placements.values()) <= cluster.cpus - READ_CPUS
    assert sum(p.workers * p.gpus for p in placements.values()) <= gpus


def test_a_laptop_gives_one_dense_worker_all_cores_as_threads() -> None:
    placements = place(Cluster(cpus=4, gpus=0, nodes=1, cores_a_node=2), DENSE, BM25)
    assert (placements["dense"].workers, placements["dense"].threads) == (1, 2)
    assert placements["bm25"].workers == 1


def test_a_large_machine_gets_several_workers_of_at_most_eight_threads() -> None:
    placement = place(Cluster(cpus=64, gpus=0, nodes=1, cores_a_node=64), DENSE)["dense"]
    assert placement.workers * (placement.threads or 0) == 64 and (placement.threads or 0) <= 8


def test_gpus_get_a_worker_each() -> None:
    placement = place(Cluster(cpus=32, gpus=4, nodes=1, cores_a_node=32), DENSE)["dense"]
    assert (placement.workers, placement.gpus) == (4, 1)


def test_what_the_job_says_is_kept() -> None:
    placements = place(
        Cluster(cpus=8, gpus=0, nodes=1, cores_a_node=8), DENSE, dense={"workers": 3, "cpus": 1, "threads": 2}
    )
    assert placements["dense"] == Placement(workers=3, cpus=1, gpus=0, threads=2)


def test_a_job_that_would_hang_is_refused() -> None:
    with pytest.raises(PreflightError, match=r"hang.*compute\.stages"):
        place(Cluster(cpus=2, gpus=0, nodes=1, cores_a_node=2), DENSE, dense={"workers": 2, "cpus": 1})


def test_gpus_that_are_not_there_are_refused() -> None:
    with pytest.raises(PreflightError, match="asks for 1 GPUs and Ray sees 0"):
        place(Cluster(cpus=8, gpus=0, nodes=1, cores_a_node=8), DENSE, dense={"gpus": 1})
