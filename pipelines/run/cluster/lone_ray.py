"""What a Ray that a job starts for itself, on one machine, does without.

A cluster needs processes that watch it, show it, serve its metrics, and reserve its nodes for one dataset among others.
Here they would take some ten CPU seconds of a job's start, and their places those of workers that Ray has started
beforehand. All of it is particular to Ray 2.60: what another version lacks is left as it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any
from uuid import uuid4

import ray
from ray import _raylet
from ray._private import ray_constants, services, utils
from ray._private.node import Node

# Nothing listens there. An agent of Ray's looks for the dashboard every second until it is given an address.
NO_DASHBOARD = b"127.0.0.1:9"
# What an agent that serves nothing tells of its ports, and a port on which nobody answers.
NOT_SERVED, NOBODY = -1, 9
PORTS = {
    "METRICS_AGENT_PORT_NAME": NOT_SERVED,
    "METRICS_EXPORT_PORT_NAME": NOT_SERVED,
    "DASHBOARD_AGENT_LISTEN_PORT_NAME": NOT_SERVED,
    "RUNTIME_ENV_AGENT_PORT_NAME": NOBODY,
}
# A raylet ends where an agent of its does, and tells it its number; this one lasts as long as the raylet.
IDLE_AGENT = """
import os, time
raylet = int(os.environ.get("RAY_RAYLET_PID", os.getppid()))
while os.getppid() == raylet:
    time.sleep(1)
"""
# Read by Ray's processes. A raylet looks for its object store again after so many milliseconds, not after a second, for
# as long as ever; the driver does not wait for workers, whose imports take as long as its own; and a task that is
# killed again and again, as there is no memory left, fails in the end.
FLAGS = {
    "RAY_raylet_client_connect_timeout_milliseconds": "20",
    "RAY_raylet_client_num_connect_attempts": "500",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_task_oom_retries": "10",
}
_lone = False


@contextmanager
def lone() -> Iterator[None]:
    """Let it be known that the Ray of this process is one that a job started for itself."""
    global _lone
    _lone = True
    try:
        yield
    finally:
        _lone = False


def is_lone() -> bool:
    """Whether the Ray of this process is one that a job started for itself."""
    return _lone


@contextmanager
def without_onlookers() -> Iterator[None]:
    """Start a Ray without its autoscaler, its dashboard, its agents, and what brings logs of workers to the driver."""
    without = {"start_api_server": _tell_no_dashboard, "start_monitor": _do_nothing, "start_log_monitor": _do_nothing}
    if hasattr(_raylet, "persist_port") and all(hasattr(_raylet, name) for name in PORTS):
        without["start_raylet"] = _without_agents(Node.start_raylet)
    # The packages are there, as ours requires them; Ray would import them to see that.
    with _flags(), _replaced(Node, **without), _replaced(utils, get_dashboard_dependency_error=_do_nothing):
        yield


@contextmanager
def ended_at_once() -> Iterator[None]:
    """Kill a Ray that is shut down in the block: its work is over, and it would be given a second a process to end."""
    kill = Node.kill_all_processes

    def kill_at_once(node: Any, *arguments: Any, **named: Any) -> None:
        kill(node, *arguments, **{**named, "allow_graceful": False})

    with _replaced(Node, kill_all_processes=kill_at_once):
        yield


@contextmanager
def _flags() -> Iterator[None]:
    """Set what the environment does not, for the processes that are started in the block."""
    added = {name: value for name, value in FLAGS.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _without_agents(start_raylet: Callable[..., Any]) -> Callable[..., Any]:
    """Start a raylet with idle processes in the place of its agents: they serve metrics, and environments of tasks.

    A raylet insists on them, and is not ready until they have told their ports, which takes them seconds of imports.
    """

    def start(node: Any, *arguments: Any, **named: Any) -> Any:
        core: Any = _raylet
        for name, port in PORTS.items():
            core.persist_port(node._session_dir, node._node_id, getattr(core, name), port)
        idle = [sys.executable, "-S", "-E", "-c", IDLE_AGENT]
        with _replaced(services, _build_python_executable_command_memory_profileable=lambda *_, **__: idle):
            return start_raylet(node, *arguments, **named)

    return start


@contextmanager
def without_brokers() -> Iterator[None]:
    """Run datasets without Ray Data's actors that share a cluster out, know where actors are, and gather its metrics.

    For a Ray of one node, all of which is this job's.
    """
    # Imported late: it takes a second, and Ray can be started without.
    from ray.data._internal import stats
    from ray.data._internal.cluster_autoscaler import rate_based_cluster_autoscaler
    from ray.data._internal.execution.operators import actor_pool_map_operator

    statistics = {
        "gen_dataset_id_from_stats_actor": staticmethod(lambda: uuid4().hex),
        "register_dataset_to_stats_actor": staticmethod(_do_nothing),
        "update_execution_metrics": staticmethod(_do_nothing),
        "update_iteration_metrics": staticmethod(_do_nothing),
    }
    places = {"get_or_create_actor_location_tracker": Nowhere, "get_actor_locations": lambda actors: {}}
    with ExitStack() as replaced:
        replaced.enter_context(_replaced(rate_based_cluster_autoscaler, DefaultAutoscalingCoordinator=WholeRay))
        replaced.enter_context(_replaced(actor_pool_map_operator, **places))
        replaced.enter_context(_replaced(stats._StatsManager, **statistics))
        yield


class WholeRay:
    """Grants a dataset all that the Ray has, in the place of Ray Data's coordinator."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def request_resources(self, *_: Any, **__: Any) -> None:
        """Grant what is there; nothing can be added."""

    def cancel_request(self) -> None:
        """Take nothing back."""

    def get_reserved_resources(self) -> dict[str, dict[str, float]]:
        """Give the resources by node, of which there is one."""
        return self._resources

    @cached_property
    def _resources(self) -> dict[str, dict[str, float]]:
        counted = ("CPU", "GPU", "memory", "object_store_memory")
        there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return {"": {name: amount for name, amount in there.items() if name in counted}}


class Nowhere:
    """Takes note of no actor's node, in the place of the actor that Ray Data asks: there is one node."""

    @property
    def update_actor_location(self) -> Nowhere:
        """What Ray calls by its ``remote``."""
        return self

    def remote(self, *_: Any) -> None:
        """Take note of nothing."""


def _tell_no_dashboard(node: Any, **_: Any) -> None:
    address = ray_constants.DASHBOARD_ADDRESS.encode()
    node.get_gcs_client().internal_kv_put(address, NO_DASHBOARD, True, ray_constants.KV_NAMESPACE_DASHBOARD)


def _do_nothing(*_: Any, **__: Any) -> None:
    return None


@contextmanager
def _replaced(owner: Any, **values: Any) -> Iterator[None]:
    """Set attributes of a module or a class until the block ends, those that it has."""
    before = {name: vars(owner)[name] for name in values if name in vars(owner)}
    for name in before:
        setattr(owner, name, values[name])
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)
