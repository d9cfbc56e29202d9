"""The tally that a Ray job's processes report to, and what is left of it when its process is killed."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import ray

from pipelines.run.cluster.remote_tally import RemoteTally, add_up
from tests.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]


def pid_of(tally: RemoteTally) -> int:
    actor: Any = tally._actor
    pid: int = ray.get(actor.__ray_call__.remote(lambda _: os.getpid()))
    return pid


def test_a_killed_tally_keeps_what_it_told_counts_on_and_says_that_figures_are_lost() -> None:
    tally = RemoteTally()
    tally("read", {"rows": 3.0})
    wait_until(lambda: tally.read().get("read", {}).get("rows") == 3)
    assert not tally.lost
    started = tally.read()["read"]["started_at"]
    os.kill(pid_of(tally), signal.SIGKILL)
    wait_until(lambda: tally.read() and tally.lost)
    tally("read", {"rows": 2.0})
    wait_until(lambda: tally.read()["read"]["rows"] == 5)
    assert tally.read()["read"]["started_at"] == started


def test_a_tally_that_is_gone_for_good_costs_figures_and_raises_nothing() -> None:
    tally = RemoteTally()
    tally("read", {"rows": 3.0})
    wait_until(lambda: tally.read().get("read", {}).get("rows") == 3)
    ray.kill(tally._actor, no_restart=True)
    wait_until(lambda: tally.read() and tally.lost)
    tally("read", {"rows": 2.0})
    assert tally.begin("a block") == 0
    assert tally.read()["read"]["rows"] == 3


def test_a_task_keeps_to_what_it_decided_first_until_the_run_is_over() -> None:
    tally = RemoteTally()
    assert tally.decide("cut", b"one") == (b"one", True)
    assert tally.decide("cut", b"two") == (b"one", False)
    assert tally.decide("skip", b"two") == (b"two", True)
    # Other tasks, and other runs, decide for themselves.
    elsewhere: Any = ray.remote(num_cpus=0.1)(lambda given: given.decide("cut", b"three"))
    assert ray.get(elsewhere.remote(tally)) == (b"three", True)
    assert RemoteTally().decide("cut", b"four") == (b"four", True)
    tally.close()
    assert tally.decide("cut", b"five") == (b"five", True)


def test_sums_of_two_tallies_keep_the_first_start() -> None:
    one = {"read": {"rows": 1.0, "started_at": 5.0}}
    other = {"read": {"rows": 2.0, "started_at": 9.0}, "skip": {"rows": 4.0}}
    assert add_up(one, other) == {"read": {"rows": 3.0, "started_at": 5.0}, "skip": {"rows": 4.0}}
