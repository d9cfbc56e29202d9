"""Asks an autoscaler for the nodes that a job expects, waits for them, and gives the request back."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from ray.autoscaler.sdk import request_resources

from pipelines.config.compute import ComputeConfig
from pipelines.config.placement import ExpectConfig
from pipelines.errors import PreflightError
from pipelines.run.placement.nodes import Machines, missing
from pipelines.stopping import begin_act, stoppable

log = logging.getLogger("fleetembed")

SECONDS_BETWEEN_LINES = 15.0
SECONDS_BETWEEN_LOOKS = 1.0
# How long a signal waits for the request to be given back.
SECONDS_TO_GIVE_BACK = 1.0


@contextmanager
def expected(compute: ComputeConfig, machines: Machines, look: Callable[[], Machines]) -> Iterator[Machines]:
    """Hold the request for what ``compute.expect`` says, and give the machines that came within its time.

    What came is used, with a notice where it is less than expected. Raises PreflightError where that is nothing: no
    GPU of those expected, or no CPU. A cluster without an autoscaler takes the request, and nothing comes of it.
    The request is the cluster's only one: that of another job is replaced by it, and both end with the first. At a
    signal it is given back at once: closing takes seconds, and whoever sent a SIGTERM may not wait.
    """
    expect = compute.expect
    if expect is None:
        yield machines
        return
    given_back = threading.Event()
    with stoppable(first_act=lambda: begin_act(lambda: _give_back(given_back), SECONDS_TO_GIVE_BACK, "give back")):
        try:
            request_resources(bundles=bundles_of(expect, machines))
            yield _wait(expect, compute.wait_seconds, look)
        finally:
            _give_back(given_back)


def _give_back(given_back: threading.Event) -> None:
    """Clear the request, once: it stays, and keeps the nodes, until there is another."""
    if given_back.is_set():
        return
    try:
        request_resources(num_cpus=0)
        given_back.set()
    # What ended the job goes before: a cluster that is gone, for instance.
    except Exception as error:
        log.warning("the nodes that compute.expect asked for could not be given back: %s", error)


def bundles_of(expect: ExpectConfig, machines: Machines) -> list[dict[str, float]]:
    """Cut what is expected into what a node must have at least, each of which an autoscaler finds a node for.

    With ``nodes``, a bundle a node, each with its part; where only their number is given, as many CPUs as the largest
    node has now, so that two do not fit one of its kind. Else a bundle a GPU, and one for each CPU.
    """
    cpus, gpus = math.ceil(expect.cpus or 0), math.ceil(expect.gpus or 0)
    if expect.nodes is not None:
        if not cpus and not gpus:
            cpus = expect.nodes * max(1, int(max((node.cpus for node in machines.nodes), default=1)))
        each = {"CPU": math.ceil(cpus / expect.nodes), "GPU": math.ceil(gpus / expect.nodes)}
        return [{name: float(count) for name, count in each.items() if count}] * expect.nodes
    with_gpus = {"GPU": 1.0, "CPU": float(cpus // gpus)} if gpus and cpus >= gpus else {"GPU": 1.0}
    alone = cpus - gpus * int(with_gpus.get("CPU", 0))
    return [with_gpus] * gpus + [{"CPU": 1.0}] * alone


def _wait(expect: ExpectConfig, seconds: float, look: Callable[[], Machines]) -> Machines:
    started = told = time.monotonic()
    lacking = missing(expect, machines := look())
    if lacking:
        log.info("waiting at most %g s for the nodes that compute.expect names: there are %s", seconds, lacking)
    while lacking and (left := seconds - time.monotonic() + started) > 0:
        time.sleep(min(SECONDS_BETWEEN_LOOKS, left))
        lacking = missing(expect, machines := look())
        if lacking and time.monotonic() - told >= SECONDS_BETWEEN_LINES:
            told = time.monotonic()
            log.info("waiting for the nodes that compute.expect names: there are %s; %.0f s left", lacking, left)
    if not lacking:
        log.info("what compute.expect names is there: %s", machines.describe())
        return machines
    if not machines.cpus or (expect.gpus and not machines.gpus):
        raise PreflightError(
            f"compute.expect: after {seconds:g} s there are {lacking}, and nothing to run on; see whether the cluster "
            "has an autoscaler and may grow so far, raise compute.wait_seconds, or leave compute.expect out to use "
            "what there is"
        )
    notice = f"compute.expect: after {seconds:g} s there were {lacking}; the job goes on with {machines.describe()}"
    log.warning(notice)
    return replace(machines, notices=(*machines.notices, notice))
