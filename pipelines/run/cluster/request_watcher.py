"""Gives back what a job asked an autoscaler for when the job is killed, and so can do that no more."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray._private import state
from ray.autoscaler.sdk import request_resources

SECONDS_BETWEEN_LOOKS = 1.0
NAMESPACE = "fleetembed"
# A little of what only the head has, which no autoscaler takes away: a watcher elsewhere would keep its node up.
ON_HEAD = {"node:__internal_head__": 0.001}


@contextmanager
def watched_request() -> Iterator[None]:
    """Have a process on the head that outlives this job, should it be killed, and ends with it otherwise.

    A request for nodes stays until there is another, whatever becomes of the job. So the block must give its request
    back, if it can.
    """
    # A job of a notebook may expect nodes more than once.
    name = f"request {secrets.token_hex(8)}"
    options = {"name": name, "namespace": NAMESPACE, "lifetime": "detached", "max_restarts": -1}
    start: Any = ray.remote(RequestWatcher).options(num_cpus=0, resources=ON_HEAD, **options)
    watcher = start.remote(ray.get_runtime_context().get_job_id(), name)
    try:
        yield
    finally:
        # A cluster that is gone has no watcher either.
        with suppress(Exception):
            ray.kill(watcher)


class RequestWatcher:
    """Clears the cluster's request for nodes when a job is dead, and ends itself; ``name`` is the actor's."""

    def __init__(self, job: str, name: str) -> None:
        # In the background, since Ray calls no method again of an actor that it started again.
        threading.Thread(target=_clear_after, args=(job, name), name="request", daemon=True).start()


def _clear_after(job: str, name: str) -> None:
    while True:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        # The cluster may not answer for a while.
        with suppress(Exception):
            if _is_dead(job):
                request_resources(num_cpus=0)
                ray.kill(ray.get_actor(name, NAMESPACE))
                return


def _is_dead(job: str) -> bool:
    jobs: list[dict[str, Any]] = state.jobs()  # type: ignore[no-untyped-call]
    return all(one["IsDead"] for one in jobs if one["JobID"] == job)
