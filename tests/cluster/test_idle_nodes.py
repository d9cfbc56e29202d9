"""Nodes that an autoscaler takes away, because nothing runs there, are not lost."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from pipelines.run.cluster.watch import ClusterWatch
from tests.cluster.nodes import cluster
from tests.waiting import SECONDS, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_node_that_is_drained_as_idle_is_not_counted_as_lost_and_one_that_is_killed_is() -> None:
    with cluster(num_cpus=1) as nodes:
        idle, killed = nodes.add(num_cpus=1), nodes.add(num_cpus=1)
        ray.init(address=nodes.address, log_to_driver=False, logging_level=logging.ERROR)
        try:
            watch = ClusterWatch()
            command = [str(Path(sys.executable).with_name("ray")), "drain-node", "--address", nodes.address]
            why = ["--reason", "DRAIN_NODE_REASON_IDLE_TERMINATION", "--reason-message", "idle"]
            subprocess.run(
                [*command, "--node-id", idle.node_id, *why], check=True, capture_output=True, timeout=SECONDS
            )
            wait_until(lambda: not alive(idle.node_id))
            assert watch.losses().nodes_lost == 0
            nodes.kill(killed)
            wait_until(lambda: not alive(killed.node_id))
            assert watch.losses().nodes_lost == 1
        finally:
            ray.shutdown()


def alive(node_id: str) -> bool:
    return any(node["Alive"] for node in ray.nodes() if node["NodeID"] == node_id)
