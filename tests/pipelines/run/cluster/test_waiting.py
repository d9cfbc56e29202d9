"""What a job that does not move is said to wait for."""

from __future__ import annotations

import logging

import pytest

from pipelines.run.cluster import watch as cluster_watch
from pipelines.run.cluster.waiting import NodeResources, Step, describe, say_free
from pipelines.run.cluster.watch import StallWatch

NODES: list[NodeResources] = [("10.0.0.1", {"CPU": 0.1}, {"CPU": 2.0}), ("10.0.0.2", {}, {"CPU": 4.0, "GPU": 1.0})]


def step(blocks: int = 0, workers: int | None = None, missing: int | None = None, moved: int = 0) -> Step:
    return Step("dense", blocks, workers, missing, "0.75 CPU and 1 GPU", (moved, 0, 0))


def test_a_worker_that_no_node_has_room_for_is_named_with_what_it_wants_and_what_is_free() -> None:
    said, missing = describe([step(blocks=2, workers=0, missing=2)], NODES)
    assert missing
    assert said == (
        "dense waits for 2 of 2 workers to start, each of which wants 0.75 CPU and 1 GPU; "
        "free: 0.1 of 2 CPU on 10.0.0.1, 0 of 4 CPU and 0 of 1 GPU on 10.0.0.2"
    )


def test_workers_that_are_busy_are_no_cause_for_a_warning() -> None:
    said, missing = describe([step(blocks=3, workers=2, missing=0), step()], NODES)
    assert not missing
    assert said.startswith("dense has 3 blocks with 2 running workers; free: ")


def test_of_many_nodes_those_with_most_room_are_named() -> None:
    nodes: list[NodeResources] = [(f"10.0.0.{n}", {"CPU": float(n)}, {"CPU": 9.0}) for n in range(8)]
    assert say_free(nodes) == (
        "free: 7 of 9 CPU on 10.0.0.7, 6 of 9 CPU on 10.0.0.6, 5 of 9 CPU on 10.0.0.5, and less on 5 other nodes"
    )
    assert say_free([]) == "free: nothing, no node is there"


def test_a_job_that_stands_still_says_so_again_after_twice_the_time_and_not_once_it_moves(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    monkeypatch.setattr(cluster_watch.time, "monotonic", lambda: now)
    watch = StallWatch()
    told = []
    with caplog.at_level(logging.INFO, "fleetembed"):
        for second in range(200):
            now = 1000.0 + second
            stuck = [step(blocks=1, workers=0, missing=1, moved=second if 70 < second < 80 else 0)]
            watch.look(stuck, lambda: NODES)
            told += [(second, record.levelname) for record in caplog.records]
            caplog.clear()
    assert told == [(30, "WARNING"), (60, "WARNING"), (110, "WARNING"), (140, "WARNING")]
    assert watch.waits_for.startswith("dense waits for 1 of 1 workers to start")
