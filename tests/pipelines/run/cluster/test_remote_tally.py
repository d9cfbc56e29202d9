"""The tally that a Ray job's processes report to, and what is left of it when its process is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import ray
from ray.experimental import internal_kv

from pipelines.run.cluster.remote_tally import DECISIONS, RemoteTally, add_up
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

    def counts_on() -> bool:
        # What is told in the moments of the restart may be lost, which ``lost`` says.
        tally("read", {"rows": 2.0})
        return tally.read()["read"]["rows"] > 3

    wait_until(counts_on)
    assert tally.read()["read"]["rows"] % 2 == 1
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


KILLED_DRIVER = """
import os, signal, sys
import ray
from pipelines.run.cluster.remote_tally import RemoteTally
ray.init(address=sys.argv[1], log_to_driver=False, configure_logging=False)
assert RemoteTally().decide("cut", b"one") == (b"one", True)
print(ray.get_runtime_context().get_job_id(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_decisions_of_a_driver_that_was_killed_are_forgotten_by_the_next_run_and_those_of_this_job_are_not() -> None:
    running = RemoteTally()
    running.decide("cut", b"one")
    address = ray.get_runtime_context().gcs_address
    driver = subprocess.run([sys.executable, "-c", KILLED_DRIVER, address], capture_output=True, text=True)
    assert driver.returncode == -signal.SIGKILL, driver.stderr
    killed = driver.stdout.strip().encode()

    def decided(job: bytes) -> list[bytes]:
        keys: list[bytes] = internal_kv._internal_kv_list(job + b" ", namespace=DECISIONS)
        return keys

    # A cluster forgets jobs, too, after many others.
    internal_kv._internal_kv_put(b"7e000000 a name", b"one", namespace=DECISIONS)
    assert decided(killed) and decided(b"7e000000")
    wait_until(lambda: RemoteTally() and not decided(killed))
    assert not decided(b"7e000000")
    assert running.decide("cut", b"two") == (b"one", False)
    running.close()


def test_a_restart_that_two_threads_see_is_counted_once() -> None:
    tally = RemoteTally()
    tally("read", {"rows": 3.0})
    wait_until(lambda: tally.read().get("read", {}).get("rows") == 3)
    with ThreadPoolExecutor(4) as pool:
        os.kill(pid_of(tally), signal.SIGKILL)
        wait_until(lambda: list(pool.map(lambda _: tally.read(), range(8))) and tally.lost)
        for sums in pool.map(lambda _: tally.read(), range(8)):
            assert sums["read"]["rows"] == 3
    tally("read", {"rows": 2.0})
    wait_until(lambda: tally.read()["read"]["rows"] == 5)


def test_sums_of_two_tallies_keep_the_first_start() -> None:
    one = {"read": {"rows": 1.0, "started_at": 5.0}}
    other = {"read": {"rows": 2.0, "started_at": 9.0}, "skip": {"rows": 4.0}}
    assert add_up(one, other) == {"read": {"rows": 3.0, "started_at": 5.0}, "skip": {"rows": 4.0}}
