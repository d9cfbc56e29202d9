"""Placement on clusters of several nodes: where actors land, what is refused, and nodes that join while a job waits."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ray._raylet import GcsClient

from tests.cluster.nodes import Nodes, cluster
from tests.cluster.placed_job import MINILM, begin, do, do_each
from tests.conftest import ALL_CORES
from tests.waiting import SECONDS, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]

BM25 = {"name": "bm25", "model": "Qdrant/bm25"}
DENSE = {"name": "dense", "model": MINILM}
ROWS = 600
CORES = len(ALL_CORES) or os.cpu_count() or 1


@pytest.fixture(scope="module")
def small() -> Iterator[Nodes]:
    """A head and a worker of two CPUs each."""
    with cluster(num_cpus=2) as nodes:
        nodes.add(num_cpus=2)
        yield nodes


@pytest.fixture(scope="module")
def labelled() -> Iterator[Nodes]:
    """A head without CPUs, a worker that says it has two GPUs, and one that has none."""
    with cluster(num_cpus=0, labels={"pool": "head"}) as nodes:
        nodes.add(num_cpus=2, num_gpus=2, labels={"pool": "gpu"})
        kinds = {"disk": 1, "accelerator_type:H100": 1}
        nodes.add(num_cpus=4, labels={"pool": "cpu"}, resources=kinds)
        yield nodes


def job(folder: Path, *embeddings: dict[str, Any], **compute: Any) -> dict[str, Any]:
    corpus = folder / "corpus.jsonl"
    texts = ({"id": f"d{number}", "text": f"bats sleep in cave {number}"} for number in range(ROWS))
    corpus.write_text("".join(json.dumps(row) + "\n" for row in texts))
    return {
        "source": {"path": str(corpus), "id": "id"},
        "embeddings": list(embeddings),
        "sink": {"type": "parquet", "path": str(folder / "out")},
        "report": str(folder / "report.json"),
        "compute": {"block_rows": 50, **compute},
    }


def asked_for(nodes: Nodes) -> list[dict[str, float]]:
    """What the cluster's autoscaler, if it had one, would find asked for."""
    held = GcsClient(address=nodes.address).internal_kv_get(b"autoscaler_resource_request", None)
    found: list[dict[str, float]] = json.loads(held) if held else []
    return found


def test_two_nodes_of_two_cpus_embed_with_dense_and_bm25(small: Nodes, minilm: Path, tmp_path: Path) -> None:
    config = job(tmp_path, {**DENSE, "path": str(minilm)}, BM25)
    outcome, placed = do_each(small.address, ("run", config), ("where", config))
    assert outcome["report"]["rows"]["written"] == ROWS, outcome
    told = placed["told"]
    # An actor a node, with all of its cores.
    assert len({one["node"] for one in told}) == 2 == len(told)
    assert [one["threads"] for one in told] == [min(2, CORES)] * 2


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"cpus": 3}, "an actor of dense wants 3 CPU, and must fit one node: there are 2 nodes of 2 CPUs"),
    ({"workers": 2, "cpus": 1.2}, "the actors do not fit the nodes (dense: 2 x 1.2 CPU on 2 nodes of 2 CPUs): a task"),
    ({"workers": 1, "gpus": 1}, "compute.stages asks for 1 GPU (dense: 1 x 1) and Ray sees 0"),
    ({"label_selector": {"pool": "x"}}, "compute.stages.dense.label_selector: no node has pool: x, so Ray would wait"),
    ({"accelerator_type": "H100"}, "compute.stages.dense.accelerator_type: no node has H100"),
]


def test_a_job_that_cannot_fit_is_refused_by_a_plan_and_at_once_by_a_run(
    small: Nodes, minilm: Path, tmp_path: Path
) -> None:
    jobs = [job(tmp_path, {**DENSE, "path": str(minilm)}, stages={"dense": stage}) for stage, _ in REFUSED]
    steps = [*(("plan", one) for one in jobs), *(("run", one) for one in jobs[1:4])]
    expected = [words for _, words in [*REFUSED, *REFUSED[1:4]]]
    told = [one.get("error", one) for one in do_each(small.address, *steps)]
    assert [one.startswith(f"PreflightError: {words}") for one, words in zip(told, expected, strict=True)] == [
        True
    ] * len(expected), told


def test_a_plan_for_a_cluster_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    assert do("127.0.0.1:9", "plan", job(tmp_path, BM25))["error"].startswith(
        "WorkerError: no Ray answers at 127.0.0.1:9"
    )


def test_actors_land_where_their_selectors_say(labelled: Nodes, minilm: Path, tmp_path: Path) -> None:
    stages = {
        "dense": {
            "label_selector": {"pool": "!in(gpu, head)"},
            "accelerator_type": "H100",
            "resources": {"disk": 0.5},
            "gpus": 0,
            "workers": 2,
        },
        "bm25": {
            "label_selector": {"pool": "spot"},
            "fallback_strategy": [{"label_selector": {"pool": "gpu"}}],
            "workers": 2,
        },
    }
    config = job(tmp_path, {**DENSE, "path": str(minilm)}, BM25, stages=stages)
    planned, placed = do_each(labelled.address, ("plan", config), ("where", config))
    assert planned["placement"] == [
        "would run on 1 node of 4 CPUs, 1 node of 2 CPUs and 2 GPUs, 1 node of 0 CPUs:",
        "  dense: 2 actors of 1.08 CPU, threads by the cores of its node, on nodes with pool: !in(gpu, head)",
        "  bm25: 2 actors of 0.15 CPU, no node has pool: spot; by fallback_strategy on nodes with pool: gpu",
    ]
    told = placed["told"]
    assert Counter((one["pool"], one["label"]) for one in told) == {("dense", "cpu"): 2, ("bm25", "gpu"): 2}
    # Both of a node's actors have half of its cores.
    assert [one["threads"] for one in told if one["pool"] == "dense"] == [max(1, min(4, CORES) // 2)] * 2


def test_models_share_cards_and_each_actor_sees_the_one_it_is_on(labelled: Nodes, minilm: Path, tmp_path: Path) -> None:
    models = [{**DENSE, "name": f"dense{number}", "path": str(minilm)} for number in range(3)]
    config = job(tmp_path, *models, BM25)
    planned, placed = do_each(labelled.address, ("plan", config), ("where", config))
    assert planned["placement"] == [
        "would run on 1 node of 4 CPUs, 1 node of 2 CPUs and 2 GPUs, 1 node of 0 CPUs:",
        *(f"  dense{number}: 1 actor of 0.22 CPU, 0.5 GPU, 1 thread" for number in range(3)),
        "  bm25: 1 actor of 0.3 CPU",
    ]
    told = placed["told"]
    with_gpus = [one for one in told if one["pool"].startswith("dense")]
    assert {one["pool"] for one in with_gpus} == {"dense0", "dense1", "dense2"}
    assert all(one["gpus"] == [one["visible"]] for one in with_gpus)
    # Half a card each: two are on one, the third on the other.
    assert sorted(Counter(one["visible"] for one in with_gpus).values()) == [1, 2]
    assert all(one["threads"] == 1 for one in with_gpus)


def test_a_job_waits_for_the_nodes_it_expects_and_gives_the_request_back(tmp_path: Path) -> None:
    with cluster(num_cpus=1) as nodes, ThreadPoolExecutor(1) as pool:
        config = job(tmp_path, BM25, expect={"nodes": 2, "cpus": 5}, wait_seconds=90, shared_storage=True)
        assert do(nodes.address, "plan", config)["placement"] == [
            "would ask for the nodes that compute.expect names, of which there are 1 of 5 CPUs, 1 of 2 nodes, and wait "
            "90 s at most for them; the placement goes by what comes"
        ]
        assert asked_for(nodes) == []
        running = pool.submit(do, nodes.address, "run", config)
        wait_until(lambda: asked_for(nodes) or running.done())
        assert asked_for(nodes) == [{"CPU": 3}, {"CPU": 3}]
        nodes.add(num_cpus=4)
        outcome = running.result()
        assert outcome["report"]["rows"]["written"] == ROWS, outcome
        assert outcome["report"]["notices"] == []
        wait_until(lambda: asked_for(nodes) == [])

        # A job that is stopped while it waits gives the request back too.
        waiting = job(tmp_path, BM25, expect={"nodes": 9}, shared_storage=True)
        with begin(nodes.address, ("run", waiting)) as process:
            wait_until(lambda: len(asked_for(nodes)) == 9)
            process.terminate()
            process.wait(SECONDS)
        assert asked_for(nodes) == []

        # Less comes than is expected: the job goes on with that, and says so. Of no GPU at all it can make no use.
        grows = {"bm25": {"workers": {"min": 1, "max": 2}}}
        less, none = (
            job(tmp_path, BM25, expect=expect, wait_seconds=1, stages=grows, shared_storage=True)
            for expect in ({"cpus": 64}, {"gpus": 1})
        )
        ran, refused = do_each(nodes.address, ("run", less), ("run", none))
        notice = (
            "compute.expect: after 1 s there were 5 of 64 CPUs; the job goes on with 1 node of 4 CPUs, 1 node of 1 CPU"
        )
        assert ran["report"]["notices"][0] == notice, ran
        assert ran["report"]["status"] == "complete", ran
        assert refused["error"].startswith("PreflightError: compute.expect: after 1 s there are 0 of 1 GPUs, and noth")
        assert asked_for(nodes) == []


def test_local_paths_are_refused_where_nodes_are_on_several_machines(tmp_path: Path) -> None:
    with cluster(num_cpus=2) as nodes:
        nodes.add(num_cpus=2, node_ip_address="127.0.0.2")
        local, shared = job(tmp_path, BM25), job(tmp_path, BM25, shared_storage=True)
        planned, refused, ran = do_each(nodes.address, ("plan", local), ("run", local), ("run", shared))
        words = "PreflightError: the cluster has 2 machines, and these paths are local to each of them: sink.0.path "
        assert planned["error"].startswith(words) and refused["error"].startswith(words), (planned, refused)
        assert ran["report"]["rows"]["written"] == ROWS, ran
