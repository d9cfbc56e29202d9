"""What a job asked an autoscaler for is given back also where the job is killed."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private import state
from ray._raylet import GcsClient

from tests.cluster.nodes import Nodes, cluster
from tests.cluster.placed_job import begin, do_each
from tests.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A head of one CPU."""
    with cluster(num_cpus=1) as found:
        yield found


def job(folder: Path, **compute: Any) -> dict[str, Any]:
    (folder / "corpus.jsonl").write_text('{"id": "a", "text": "bats"}\n')
    return {
        "source": {"path": str(folder / "corpus.jsonl"), "id": "id"},
        "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
        "sink": {"type": "parquet", "path": str(folder / "out")},
        "report": str(folder / "report.json"),
        "compute": compute,
    }


def asked_for(nodes: Nodes) -> list[dict[str, float]]:
    """What the cluster's autoscaler, if it had one, would find asked for."""
    held = GcsClient(address=nodes.address).internal_kv_get(b"autoscaler_resource_request", None)
    found: list[dict[str, float]] = json.loads(held) if held else []
    return found


def test_local_paths_are_refused_before_anything_is_waited_for_whatever_is_expected(
    nodes: Nodes, tmp_path: Path
) -> None:
    expected: list[dict[str, int]] = [{"nodes": 9}, {"cpus": 64}, {"gpus": 1}]
    jobs = [job(tmp_path, expect=expect, wait_seconds=600) for expect in expected]
    outcomes = do_each(nodes.address, *((action, job) for action in ("plan", "run") for job in jobs))
    for outcome, machines in zip(outcomes, (9, 2, 2) * 2, strict=True):
        words = f"PreflightError: the cluster has {machines} machines, and these paths are local to each of them:"
        assert outcome["error"].startswith(words), outcome


def test_the_request_of_a_job_that_is_killed_is_cleared_and_nothing_of_it_is_left(nodes: Nodes, tmp_path: Path) -> None:
    waiting = job(tmp_path, expect={"nodes": 9}, shared_storage=True)
    with begin(nodes.address, ("run", waiting)) as process:
        wait_until(lambda: len(asked_for(nodes)) == 9)
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until(lambda: asked_for(nodes) == [])
    ray.init(address=nodes.address, log_to_driver=False)
    try:
        wait_until(lambda: set(watchers()) == {"DEAD"})
    finally:
        ray.shutdown()


def watchers() -> list[str]:
    """States of the processes that watch over requests."""
    return [one["State"] for one in state.actors().values() if one["ActorClassName"] == "RequestWatcher"]
