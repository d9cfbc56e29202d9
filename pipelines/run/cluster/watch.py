"""Watches the cluster while a job runs: which nodes and workers are lost, and what the job waits for.

Ray Data says neither: a worker that no node has room for is waited for in silence.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray._private import state
from ray.core.generated import common_pb2

from pipelines.run.cluster.waiting import NodeResources, Step, describe, operators, steps_of
from pipelines.run.periodic import repeating
from pipelines.run.report.losses import Losses

log = logging.getLogger("fleetembed")

SECONDS_BETWEEN_LOOKS = 1.0
# How long nothing has to move until it is told what is waited for; each time after that takes twice as long.
SECONDS_UNTIL_TOLD = 30.0
# A node that the autoscaler took away because nothing ran there is not lost. Ray gives the reason as a number.
IDLE: int = common_pb2.NodeDeathInfo.Reason.Value("AUTOSCALER_DRAIN_IDLE")  # type: ignore[attr-defined]


class ClusterWatch:
    """Counts nodes and restarts since it was made, by what the cluster itself says (GCS)."""

    def __init__(self) -> None:
        nodes = _nodes()
        self._known = set(nodes)
        self._gone = {name for name, node in nodes.items() if not node["Alive"]}
        self._losses = Losses()
        self._told_of_joined: set[str] = set()
        self._told_of_lost: set[str] = set()

    def losses(self, *, lost_figures: bool = False) -> Losses:
        """Count; what was counted last where the cluster does not answer."""
        # Whatever Ray raises of a cluster that does not answer, the job has its own ways to tell of it.
        with suppress(Exception):
            nodes = _nodes()
            gone = {name for name, node in nodes.items() if not node["Alive"] and node.get("DeathReason") != IDLE}
            lost, joined = gone - self._gone, nodes.keys() - self._known
            self._tell(nodes, lost, joined)
            self._losses = Losses(len(lost), len(joined), _restarts())
        return Losses(**{**vars(self._losses), "figures": lost_figures})

    def _tell(self, nodes: dict[str, dict[str, Any]], lost: set[str], joined: set[str]) -> None:
        for name in joined - self._told_of_joined:
            log.info("node %s joined", nodes[name]["NodeManagerAddress"])
        for name in lost - self._told_of_lost:
            address = nodes[name]["NodeManagerAddress"]
            log.warning("node %s was lost: what was at work there is done again elsewhere", address)
        self._told_of_joined, self._told_of_lost = joined, lost


class StallWatch:
    """Says what a running dataset waits for, when nothing moved for a while; ``waits_for`` is what it said last."""

    def __init__(self) -> None:
        self.waits_for = ""
        self._moved = time.monotonic()
        self._told_after = SECONDS_UNTIL_TOLD
        self._steps: list[Step] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look once a second, from another thread."""

        def look() -> None:
            # Ray Data's own books, which change while they are read.
            with suppress(Exception):
                self.look(steps_of(operators()), free_of_nodes)

        with repeating(look, SECONDS_BETWEEN_LOOKS, "stalls"):
            yield

    def look(self, steps: list[Step], free: Callable[[], list[NodeResources]]) -> None:
        """Compare the steps with those of the last look, and log a line where nothing moved for long."""
        now = time.monotonic()
        if [step.progress for step in steps] != [step.progress for step in self._steps]:
            self._steps, self._moved, self._told_after = steps, now, SECONDS_UNTIL_TOLD
        still = now - self._moved
        if still < min(10.0, self._told_after) or not steps:
            return
        self.waits_for, missing = describe(steps, free())
        if still >= self._told_after:
            self._told_after *= 2
            level = logging.WARNING if missing else logging.INFO
            log.log(level, "no block moved for %.0f s: %s", still, self.waits_for)


def free_of_nodes() -> list[NodeResources]:
    """List the nodes that are there: address, resources that are free, and all of its resources."""
    free = state.available_resources_per_node()  # type: ignore[no-untyped-call]
    return [
        (node["NodeManagerAddress"], free.get(name, {}), node["Resources"])
        for name, node in _nodes().items()
        if node["Alive"]
    ]


def _nodes() -> dict[str, dict[str, Any]]:
    return {node["NodeID"]: node for node in ray.nodes()}  # type: ignore[no-untyped-call]


def _restarts() -> int:
    job = ray.get_runtime_context().get_job_id()
    found = state.actors(job_id=ray.JobID.from_hex(job))
    return sum(actor["NumRestarts"] for actor in found.values())
