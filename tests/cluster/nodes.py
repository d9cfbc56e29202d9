"""Ray clusters of several nodes on this machine: each node has a raylet, an object store and workers of its own."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from pipelines.run.cluster.lone_ray import without_onlookers
from tests.conftest import all_cores

STORE_BYTES = 100 << 20
SECONDS_TO_END = 20


class Nodes:
    """The nodes of a cluster; the first one is its head, which drivers on this machine are connected to."""

    def __init__(self, folder: Path, num_cpus: float, **options: Any) -> None:
        head = {"include_dashboard": False, "temp_dir": str(folder), "object_store_memory": STORE_BYTES, **options}
        with without_onlookers():
            self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": num_cpus, **head})
        self._family: list[psutil.Process] = []
        self.head: Any = self._cluster.head_node

    @property
    def address(self) -> str:
        """What a driver joins the cluster by."""
        return str(self._cluster.address)

    def add(
        self,
        num_cpus: float = 2,
        num_gpus: float = 0,
        labels: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Any:
        """Start a node, and return it when the cluster knows it; GPUs are numbers alone.

        ``env`` is put into the environment of its workers; ``options`` are further ones of Ray's.
        """
        wanted = {"num_cpus": num_cpus, "num_gpus": num_gpus, "labels": dict(labels or {}), "env_vars": dict(env or {})}
        with without_onlookers():
            return self._cluster.add_node(object_store_memory=STORE_BYTES, **wanted, **options)

    def kill(self, node: Any) -> None:
        """SIGKILL a node's raylet and what belongs to it; its workers end when they notice."""
        self._family += processes(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def stop(self, node: Any) -> None:
        """End a node as an orderly shutdown of its machine does, by SIGTERM."""
        self._family += processes(node)
        self._cluster.remove_node(node, allow_graceful=True)

    def stop_added(self) -> None:
        """End all nodes but the head."""
        for node in list(self._cluster.worker_nodes):
            self.stop(node)

    def close(self) -> None:
        """End all nodes and whatever is left of them."""
        for node in self._cluster.list_all_nodes():
            self._family += processes(node)
        try:
            self._cluster.shutdown()
        finally:
            for process in psutil.wait_procs(self._family, timeout=SECONDS_TO_END)[1]:
                process.kill()


def processes(node: Any) -> list[psutil.Process]:
    """A node's processes, its workers among them."""
    found = []
    for group in node.all_processes.values():
        for one in group:
            with suppress(psutil.Error):
                parent = psutil.Process(one.process.pid)
                found += [parent, *parent.children(recursive=True)]
    return found


@contextmanager
def cluster(num_cpus: float = 1, **options: Any) -> Iterator[Nodes]:
    """Start a cluster that has only a head as yet, and end all its nodes afterwards.

    Its nodes do without agents and other onlookers, each of which costs seconds of CPU time and serves no test.

    ``options`` go to the head: ``labels``, ``resources``, ``_system_config``. A Ray that this process is connected to
    is left: a process has one at a time, and the end of a cluster takes away parts of another one's client. The fixture
    ``ray_local`` starts it anew for who needs it next.
    """
    ray.shutdown()
    # Not below pytest's folder: the names of Ray's sockets have 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="fe-", dir="/tmp"))
    # Ray writes the address of its last cluster there, and does not make the folder.
    (folder / "ray").mkdir()
    with all_cores(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # A killed node refuses connections at once; five of them in a row are its death. By default that takes 15 s.
        patch.setenv("RAY_health_check_period_ms", "500")
        patch.delenv("RAY_ADDRESS", raising=False)
        # Each node puts a handler of its own in the place of this process's.
        before = signal.getsignal(signal.SIGTERM)
        nodes = Nodes(folder, num_cpus, **options)
        try:
            yield nodes
        finally:
            nodes.close()
            signal.signal(signal.SIGTERM, before)
            shutil.rmtree(folder, ignore_errors=True)
