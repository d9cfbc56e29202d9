"""Nodes that are killed, drained and added while a job runs: each point is there once, and little is embedded twice.

All parts are real: raylets and their workers, the model, the sinks. A job runs in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow.dataset as pads
import pytest

from pipelines.sinks.qdrant.client import open_folder
from tests.cluster.nodes import Nodes, processes
from tests.cluster.running_job import RunningJob, dense, start_job, write_corpus
from tests.waiting import SECONDS, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROWS = 640
WORKERS = 4


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = ({"id": f"d{n}", "text": f"Document {n} tells of this and that. " * 10, "n": n} for n in range(ROWS))
    return write_corpus(tmp_path_factory.mktemp("source"), list(rows), files=3)


@pytest.fixture
def nodes(head: Nodes) -> Iterator[list[Any]]:
    """Two nodes beside the head, which are gone after the test, and so are those that it adds."""
    yield [head.add(num_cpus=2), head.add(num_cpus=2)]
    head.stop_added()


def config(head: Nodes, source: Path, model: Path, sink: dict[str, Any]) -> dict[str, Any]:
    return {
        "source": {"path": str(source), "id": "id"},
        "embeddings": dense(model),
        "sink": sink,
        "compute": {
            "engine": "ray",
            "address": head.address,
            "block_rows": 8,
            "max_retries": 10,
            "stall_seconds": SECONDS,
            "stages": {"dense": {"workers": WORKERS, "cpus": 0.9, "threads": 1}},
        },
    }


def embedding_workers(node: Any) -> list[psutil.Process]:
    """The processes of a node that embed."""
    return titled(node, "MapWorker(MapBatches(dense))")


def wait_for_workers(head: Nodes, nodes: Sequence[Any]) -> None:
    """Wait until all workers that embed are started, which are more than one node has room for."""
    wait_until(lambda: sum(len(embedding_workers(node)) for node in (head.head, *nodes)) == WORKERS)


@contextmanager
def paused(nodes: Sequence[Any]) -> Iterator[None]:
    """Let what embeds on some nodes stand still meanwhile, so that the job goes on for as long as that."""
    workers = [worker for node in nodes for worker in embedding_workers(node)]
    for worker in workers:
        worker.suspend()
    try:
        yield
    finally:
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.resume()


def busiest(nodes: Sequence[Any]) -> Any:
    """The node with the most workers: two of them, where there are three nodes, and no other has room for both."""
    found = max(nodes, key=lambda node: len(embedding_workers(node)))
    assert len(embedding_workers(found)) == 2
    return found


def titled(node: Any, name: str) -> list[psutil.Process]:
    found = []
    for process in processes(node):
        # Some end in the meantime.
        with suppress(psutil.Error):
            if name in " ".join(process.cmdline()):
                found.append(process)
    return found


def assert_little_was_embedded_twice(job: RunningJob) -> dict[str, Any]:
    assert job.end() == 0, job.output
    report = job.report
    assert report["status"] == "complete"
    assert (report["rows"]["read"], report["rows"]["written"], report["rows"]["dead"]) == (ROWS, ROWS, 0)
    assert ROWS <= report["rows"]["embedded"] < 1.2 * ROWS
    assert report["rows_embedded_again"] == report["rows"]["embedded"] - ROWS
    return report


def assert_each_point_is_there_once(points: list[tuple[str, dict[str, Any]]]) -> None:
    assert len(points) == ROWS
    assert dict(points) == {f"d{n}": {"n": n} for n in range(ROWS)}


def test_a_node_that_is_killed_costs_a_few_blocks_and_one_that_joins_takes_its_workers(
    head: Nodes, nodes: list[Any], source: Path, minilm: Path, tmp_path: Path
) -> None:
    sink = {"type": "parquet", "path": str(tmp_path / "out")}
    with start_job(tmp_path, config(head, source, minilm, sink)) as job:
        wait_for_workers(head, nodes)
        job.wait_for_rows(ROWS // 5)
        with paused([head.head, *nodes]):
            lost = busiest(nodes)
        head.kill(lost)
        with paused([head.head, *(node for node in nodes if node is not lost)]):
            joined = head.add(num_cpus=2)
            wait_until(lambda: job.process.poll() is not None or embedding_workers(joined))
        assert embedding_workers(joined)
        report = assert_little_was_embedded_twice(job)
    assert (report["nodes_lost"], report["nodes_joined"]) == (1, 1)
    assert report["actors_restarted"] >= 1
    assert "1 node lost, 1 node joined, " in job.output
    rows = pads.dataset(tmp_path / "out", format="parquet").to_table().to_pylist()
    assert_each_point_is_there_once([(row["document_id"], json.loads(row["payload"])) for row in rows])


def test_a_drained_node_and_a_killed_counter_and_a_killed_host_of_the_folder_lose_no_point(
    head: Nodes, nodes: list[Any], source: Path, minilm: Path, tmp_path: Path
) -> None:
    sink = {"type": "qdrant", "path": str(tmp_path / "qdrant"), "collection": "docs"}
    with start_job(tmp_path, config(head, source, minilm, sink)) as job:
        wait_for_workers(head, nodes)
        job.wait_for_rows(ROWS // 5)
        for name in ("_NamedTally", "FolderHost"):
            (process,) = titled(head.head, name)
            process.kill()
        with paused([head.head, *nodes]):
            lost = busiest(nodes)
            drain(head, lost)
        job.wait_for_rows(2 * ROWS // 5)
        head.kill(lost)
        report = assert_little_was_embedded_twice(job)
    # Nobody waits for a drained node: the job may be over before the cluster knows that it is gone.
    assert report["nodes_lost"] <= 1
    assert report["actors_restarted"] >= 2
    assert any("the process that counts was lost" in notice for notice in report["notices"])
    client = open_folder(str(tmp_path / "qdrant"))
    try:
        points, _ = client.scroll("docs", limit=2 * ROWS, with_payload=True)
    finally:
        client.close()
    assert_each_point_is_there_once([(point.payload["document_id"], {"n": point.payload["n"]}) for point in points])


HOLD = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False)
held = [ray.remote(num_cpus=2)(type("Other", (), {"ready": lambda self: 1})).remote() for _ in range(2)]
ray.get([one.ready.remote() for one in held])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other_job(head: Nodes, nodes: list[Any]) -> Iterator[None]:
    """Another job, which holds both nodes beside the head whole."""
    command = [sys.executable, "-c", HOLD, head.address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        yield
        process.communicate()


@pytest.mark.usefixtures("other_job")
def test_a_job_that_nothing_is_left_for_is_given_up_and_says_what_it_waited_for(
    head: Nodes, source: Path, minilm: Path, tmp_path: Path
) -> None:
    job = config(head, source, minilm, {"type": "parquet", "path": str(tmp_path / "out")})
    job["compute"] |= {"stall_seconds": 12, "stages": {"dense": {"workers": 1, "cpus": 0.9}}}
    with start_job(tmp_path, job) as running:
        assert running.end() == 1
    assert running.report["status"] == "failed"
    assert "Traceback" not in running.output
    told = running.report["error"]
    assert told in running.output
    assert told.startswith("no block moved for 12 s (compute.stall_seconds), and the job was given up. ")
    assert "read + skip + block works, or waits for 1 CPU on one node" in told
    assert "of 1 CPU on " in told and "raise compute.stall_seconds" in told and "run the job again" in told


def drain(head: Nodes, node: Any) -> None:
    """Tell the cluster that a node is about to go, as the cloud does before it takes a spot machine away."""
    ray = str(Path(sys.executable).with_name("ray"))
    about = ["--address", head.address, "--node-id", node.node_id, "--deadline-remaining-seconds", "60"]
    why = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
    subprocess.run([ray, "drain-node", *about, *why], check=True, capture_output=True, timeout=SECONDS)
