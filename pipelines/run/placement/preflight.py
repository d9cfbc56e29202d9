"""Refuses a job that would hang: Ray waits for ever, and in silence, for a node that an actor fits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from pipelines.config.compute import ComputeConfig
from pipelines.config.placement import StageConfig
from pipelines.errors import PreflightError
from pipelines.run.placement.fitting import Actor, Room, pack
from pipelines.run.placement.nodes import Machines, Node, count_of, describe
from pipelines.run.placement.sizes import ACCELERATOR, SUPPORT_CPUS, beside_models, demand
from pipelines.run.stages.stage import Resources

# Labels that Ray gives to each node, and by which nobody chooses.
OF_ONE_NODE = "ray.io/node-id"
MOST_NODES_NAMED = 8


def homes_of(pool: str, wanted: StageConfig, machines: Machines) -> tuple[Node, ...]:
    """List the nodes with CPUs that a pool prefers of those it may run on.

    Raises PreflightError where it may run on no node. Preferred are those that ``label_selector`` selects, or else the
    first of ``fallback_strategy`` that selects any.
    """
    where = f"compute.stages.{pool}"
    kind = ACCELERATOR.format(wanted.accelerator_type)
    nodes = [node for node in machines.nodes if wanted.accelerator_type is None or node.resources.get(kind, 0) > 0]
    if not nodes:
        known = sorted({name.partition(":")[2] for name in _resource_names(machines) if name.startswith(kind[:17])})
        raise PreflightError(
            f"{where}.accelerator_type: no node has {wanted.accelerator_type}, so Ray would wait for ever; "
            f"nodes have {', '.join(known) or 'no accelerators that Ray knows'}"
        )
    for name, amount in (wanted.resources or {}).items():
        nodes = [node for node in nodes if node.resources.get(name, 0) >= amount]
        if not nodes:
            known = sorted(name for name in _resource_names(machines) if ":" not in name)
            raise PreflightError(
                f"{where}.resources: no node that is suited otherwise has {amount:g} of {name}, so Ray would wait for "
                f"ever; nodes have {', '.join(known) or 'no resources but CPUs, GPUs and memory'}"
            )
    for selector in wanted.selectors:
        if found := [node for node in nodes if node.meets(selector)]:
            return tuple(node for node in found if node.cpus or wanted.cpus == 0)
    asked = " or ".join(shown_selector(selector) for selector in wanted.selectors)
    raise PreflightError(
        f"{where}.label_selector: no node has {asked}, so Ray would wait for ever; "
        f"labels that nodes have: {_labels(machines.nodes)}"
    )


def _resource_names(machines: Machines) -> set[str]:
    return {name for node in machines.nodes for name in node.resources}


def shown_selector(selector: Mapping[str, str]) -> str:
    """A label selector as messages name it."""
    return ", ".join(f"{key}: {value}" for key, value in selector.items())


def _labels(nodes: Sequence[Node]) -> str:
    counts: dict[str, int] = {}
    for node in nodes:
        for key, value in sorted(node.labels.items()):
            if key != OF_ONE_NODE:
                counts[f"{key}: {value}"] = counts.get(f"{key}: {value}", 0) + 1
    shown = [f"{label} ({count} {'node' if count == 1 else 'nodes'})" for label, count in counts.items()]
    return ", ".join(shown) or "none"


def refuse_what_hangs(sizes: Mapping[str, Resources], machines: Machines, writers: int, compute: ComputeConfig) -> None:
    """Raise PreflightError where the actors of all pools, however well they are packed, leave no room for a reader."""
    actors = [demand(name, resources) for name, resources in sizes.items()]
    _refuse_too_many_gpus(actors, machines, compute)
    for actor in actors:
        if not any(actor.may_run_on(node) for node in machines.nodes):
            suited = [node for node in machines.nodes if actor.is_let_on(node)]
            raise PreflightError(
                f"an actor of {actor.pool} wants {_wants(actor)}, and must fit one node: there {_are(len(suited))} "
                f"{describe(suited)}. Lower cpus or gpus under compute.stages.{actor.pool}, or give Ray a larger node"
            )
    _refuse_too_many_cpus(actors, machines)
    rooms, left_out = pack([*actors, *beside_models(writers, machines)], machines.nodes)
    if left_out is None:
        return
    whom = "a task that reads" if left_out.pool == "read" else f"one more actor of {left_out.pool}"
    raise PreflightError(
        f"the actors do not fit the nodes ({_held(actors)} on {machines.describe()}): {whom}, which wants "
        f"{_wants(left_out)}, finds no node with so much free, and the job would hang. Free, after the others: "
        f"{_free(rooms)}. Lower workers, cpus or gpus under compute.stages, or give Ray more nodes"
    )


def _refuse_too_many_cpus(actors: Sequence[Actor], machines: Machines) -> None:
    reserved = sum(one.count * one.cpus for one in actors) + 2 * SUPPORT_CPUS
    if reserved > machines.cpus - machines.read_cpus:
        raise PreflightError(
            f"the actors would hold {reserved:g} of {machines.cpus:g} CPUs ({_held(actors)}) and leave none to read "
            "with: the job would hang. Lower workers or cpus under compute.stages, or give Ray more CPUs, so that at "
            f"least {machines.read_cpus:g} CPU stays free; a small job runs without Ray (compute.engine: local)"
        )


def _refuse_too_many_gpus(actors: Sequence[Actor], machines: Machines, compute: ComputeConfig) -> None:
    gpus = sum(one.count * one.gpus for one in actors)
    if gpus > machines.gpus:
        of_each = ", ".join(f"{one.pool}: {one.count} x {one.gpus:g}" for one in actors if one.gpus)
        raise PreflightError(
            f"compute.stages asks for {count_of(gpus, 'GPU')} ({of_each}) and Ray sees {machines.gpus:g}"
            f"{_advice_on_gpus(gpus, compute)}"
        )


def _advice_on_gpus(gpus: float, compute: ComputeConfig) -> str:
    expect = compute.expect
    if expect is not None and expect.gpus is not None and expect.gpus >= gpus:
        return (
            f": compute.expect asked for {count_of(expect.gpus, 'GPU')}, and fewer came within "
            f"{compute.wait_seconds} s (compute.wait_seconds). Leave workers out to use those that came, let their "
            "number follow the work (workers: {min: 1, max: N}), or wait longer"
        )
    # The cluster's name comes first: nodes are expected only of one that is named.
    named = (compute.address or os.environ.get("RAY_ADDRESS") or "local") != "local"
    cluster = "" if named else "name the cluster (compute.address) and "
    return (
        "; lower workers or gpus, or start Ray on a machine whose GPUs it can see; where an autoscaler brings them, "
        f"{cluster}say how many are to come (compute.expect: {{gpus: {gpus:g}}})"
    )


def _held(actors: Sequence[Actor]) -> str:
    return ", ".join(f"{one.pool}: {one.count} x {_wants(one)}" for one in actors)


def _wants(actor: Actor) -> str:
    gpus = f" and {actor.gpus:g} GPU" if actor.gpus else ""
    others = "".join(f", {amount:g} of {name}" for name, amount in actor.resources.items())
    return f"{actor.cpus:g} CPU{gpus}{others}"


def _free(rooms: Sequence[Room]) -> str:
    shown = [
        f"{room.node.title} {room.cpus:.4g} CPU" + (f", {sum(room.cards):.4g} GPU" if room.cards else "")
        for room in rooms[:MOST_NODES_NAMED]
    ]
    more = len(rooms) - len(shown)
    return "; ".join([*shown, *([f"and {more} more nodes"] if more else [])])


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
