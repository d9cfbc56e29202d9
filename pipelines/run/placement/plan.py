"""What a plan says of a cluster, or of this machine: whether the job fits it, and where its pools would be."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from pipelines.config.compute import ComputeConfig
from pipelines.config.job import JobConfig
from pipelines.errors import PreflightError
from pipelines.run.placement.nodes import Machines, missing
from pipelines.run.placement.pools import Pool, place_pools
from pipelines.run.placement.preflight import shown_selector
from pipelines.run.placement.shared_storage import refuse_local_places
from pipelines.run.placement.sizes import demand
from pipelines.sinks.ray_context import running_ray


def joins_cluster(compute: ComputeConfig) -> bool:
    """Whether a Ray drives the job that the job did not start: one in this process, or one that an address names."""
    if compute.engine == "local":
        return False
    address = compute.address or os.environ.get("RAY_ADDRESS")
    return running_ray() is not None or (bool(address) and address != "local")


def asks_for_ray(compute: ComputeConfig) -> bool:
    """Whether Ray drives the job however small it is."""
    if compute.engine == "auto":
        return running_ray() is not None or bool(os.environ.get("RAY_ADDRESS")) or compute.asks_for_ray
    return compute.engine == "ray"


def refuse_expect_without_cluster(compute: ComputeConfig) -> None:
    """Raise PreflightError where nodes are expected of a Ray that the job starts for itself."""
    if compute.expect is not None and not joins_cluster(compute):
        raise PreflightError(
            "compute.expect asks the autoscaler of a cluster, and the job names none; give compute.address or "
            "RAY_ADDRESS, or leave compute.expect out"
        )


def plan_placement(config: JobConfig) -> list[str]:
    """Tell in lines where a job's pools would be; none where it may do without Ray.

    Looks at the cluster that the job would join, else at this machine. Nothing is asked of an autoscaler, and no Ray is
    started. Raises PreflightError as a run does, and WorkerError where no Ray answers.
    """
    compute = config.compute
    # Where Ray reads the documents, it is there for the rest too.
    if config.in_memory or (not asks_for_ray(compute) and (config.source.unread is None or compute.engine == "local")):
        return []
    refuse_expect_without_cluster(compute)
    # Imported late: planning does without Ray where the job does.
    from pipelines.run.cluster.connection import connect, describe_local
    from pipelines.run.cluster.errors import plain_errors

    if not joins_cluster(compute):
        machines = describe_local(compute)
        return describe_placement(place_pools(config, machines), machines)
    with connect(compute) as machines, plain_errors():
        refuse_local_places(config, machines)
        if compute.expect is not None and (lacking := missing(compute.expect, machines)):
            return [
                f"would ask for the nodes that compute.expect names, of which there are {lacking}, and wait "
                f"{compute.wait_seconds} s at most for them; the placement goes by what comes"
            ]
        return describe_placement(place_pools(config, machines), machines)


def describe_placement(pools: Sequence[Pool], machines: Machines) -> list[str]:
    """Tell in a line a pool how many actors it has, and what each of them gets."""
    return [f"would run on {machines.describe()}:", *(f"  {_describe(pool, machines)}" for pool in pools)]


def _describe(pool: Pool, machines: Machines) -> str:
    wanted = pool.resources
    count = f"{wanted.workers}" if wanted.least is None else f"{wanted.least} to {wanted.workers}"
    parts = [f"{pool.name}: {count} {'actor' if count == '1' else 'actors'} of {wanted.cpus:g} CPU"]
    if wanted.gpus:
        parts.append(f"{wanted.gpus:g} GPU")
    if wanted.threads:
        parts.append("1 thread" if wanted.threads == 1 else f"{wanted.threads} threads")
    elif wanted.beside:
        parts.append("threads by the cores of its node")
    if wanted.label_selector:
        parts.append(_describe_nodes(pool, machines))
    return ", ".join(parts)


def _describe_nodes(pool: Pool, machines: Machines) -> str:
    """Tell which nodes a pool gets: those of its selector, or of the first fallback that a suited node meets."""
    actor = demand(pool.name, pool.resources)
    passed_over: list[str] = []
    for selector in actor.selectors:
        only = replace(actor, selectors=(selector,))
        if any(only.is_let_on(node) for node in machines.nodes):
            nodes = f"on nodes with {shown_selector(selector)}" if selector else "on any node"
            return f"no node has {' or '.join(passed_over)}; by fallback_strategy {nodes}" if passed_over else nodes
        passed_over.append(shown_selector(selector))
    return f"on nodes with {' or '.join(passed_over)}"
