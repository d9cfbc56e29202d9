"""Connects to a local Ray whose first nodes come too late, and prints what became of it as JSON.

``python -m tests.pipelines.run.cluster.late_ray LATE``: Ray's own wait for the first LATE nodes ends without them,
though not after its 30 s; all processes are real. In a process of its own, since a process has one Ray.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from types import SimpleNamespace
from typing import Any

import psutil
from ray._private import node as ray_node
from ray._private import services

from pipelines.config.compute import ComputeConfig
from pipelines.errors import WorkerError
from pipelines.run.cluster.connection import connect
from tests.waiting import SECONDS


class LateNodes:
    """Stands before Ray's look-up of a node: the first ``late`` of them are never there."""

    def __init__(self, late: int) -> None:
        self.late, self.asked = late, dict[str, None]()
        self._really = services.get_node
        self._hours = iter(range(10**6))
        services.get_node = self._get_node
        # Each look at the clock is an hour later: Ray gives a node up at once.
        clock = SimpleNamespace(sleep=time.sleep, time=time.time, monotonic=lambda: next(self._hours) * 3600.0)
        ray_node.time = clock

    def _get_node(self, address: str, node: str) -> Any:
        self.asked[node] = None
        if len(self.asked) <= self.late:
            raise RuntimeError("the node is not registered yet")
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                return self._really(address, node)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


class Messages(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        self.kept.append(record.getMessage())


def raylets() -> int:
    """Count the raylets that this process has started and that still run."""
    return sum("raylet" in child.name() for child in psutil.Process().children())


def main(late: int) -> None:
    """Connect, and print the outcome."""
    messages = Messages()
    logging.getLogger("fleetembed").addHandler(messages)
    nodes = LateNodes(late)
    outcome: dict[str, Any] = {"cpus": None, "error": None}
    try:
        with connect(ComputeConfig(cpus=1, object_store_mb=80)) as machines:
            outcome |= {"cpus": machines.cpus, "raylets": raylets()}
    except WorkerError as error:
        outcome |= {"error": str(error), "raylets": raylets()}
    print(json.dumps({**outcome, "nodes": len(nodes.asked), "messages": messages.kept}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
