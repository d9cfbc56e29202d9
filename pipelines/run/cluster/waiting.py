"""What a running dataset waits for, by Ray Data's own books, in words."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from ray.data._internal.execution.execution_callback import ExecutionCallback

# A node's address, its resources that are free, and all of them.
NodeResources: TypeAlias = tuple[str, dict[str, float], dict[str, float]]
# So many nodes are named, those with the most free CPUs.
MOST_NODES = 3


@dataclass(frozen=True)
class Step:
    """A step of a running dataset: stages that share workers.

    ``blocks`` were given to workers and are not done. ``workers`` run, and ``missing`` ones are still to start or to
    start again; both are None for a step on tasks, a task a block. ``progress`` changes whenever a block moves.
    """

    name: str
    blocks: int
    workers: int | None
    missing: int | None
    wants: str
    progress: tuple[int, ...]


class RunningDataset(ExecutionCallback):
    """Keeps hold of the dataset that this process executes. Ray Data makes one of it an execution."""

    executor: weakref.ref[Any] | None = None

    def before_execution_starts(self, executor: Any) -> None:
        """See ExecutionCallback."""
        RunningDataset.executor = weakref.ref(executor)


def operators() -> list[tuple[Any, Any]]:
    """List the operators of the dataset that is executed, each with its state."""
    executor = RunningDataset.executor and RunningDataset.executor()
    return list((getattr(executor, "_topology", None) or {}).items())


def steps_of(found: Iterable[tuple[Any, Any]]) -> list[Step]:
    """Read the operators that are not done yet."""
    return [_step(operator, about) for operator, about in found if not operator.has_completed()]


def _step(operator: Any, about: Any) -> Step:
    pools = operator.get_autoscaling_actor_pools()
    workers = missing = None
    if pools:
        info = operator.get_actor_info()
        workers, missing = info.running, info.pending + info.restarting
    wants = operator.min_scheduling_resources()
    moved = (
        operator.metrics.num_outputs_taken,
        about.total_enqueued_input_blocks(),
        about.total_enqueued_output_blocks(),
    )
    name = operator.name.partition("->")[0]
    for wrapper in ("MapBatches(", "MapWorker("):
        name = name.removeprefix(wrapper)
    name = name.removesuffix(")")
    return Step(name, operator.num_active_tasks(), workers, missing, _amounts(wants.cpu, wants.gpu), moved)


def describe(steps: Iterable[Step], nodes: Iterable[NodeResources]) -> tuple[str, bool]:
    """Say what steps wait for, and what nodes have free; and whether a worker is missing."""
    steps = [step for step in steps if step.blocks or step.missing]
    missing = [_missing(step) for step in steps if step.missing]
    busy = [_busy(step) for step in steps if step.blocks and not (step.missing and not step.workers)]
    said = "; ".join([*missing, *busy]) or "no block is at work"
    return f"{said}; {say_free(nodes)}", bool(missing)


def say_free(nodes: Iterable[NodeResources]) -> str:
    """Say what is free on the nodes that have most of it."""
    ranked = sorted(nodes, key=lambda node: (node[1].get("GPU", 0), node[1].get("CPU", 0)), reverse=True)
    free = ", ".join(_free(*node) for node in ranked[:MOST_NODES])
    more = f", and less on {len(ranked) - MOST_NODES} other nodes" if len(ranked) > MOST_NODES else ""
    return f"free: {free or 'nothing, no node is there'}{more}"


def _missing(step: Step) -> str:
    of = (step.missing or 0) + (step.workers or 0)
    return f"{step.name} waits for {step.missing} of {of} workers to start, each of which wants {step.wants}"


def _busy(step: Step) -> str:
    blocks = "1 block" if step.blocks == 1 else f"{step.blocks} blocks"
    if step.workers is None:
        return f"{step.name} works, or waits for {step.wants} on one node, in {step.blocks} tasks"
    return f"{step.name} has {blocks} with {step.workers} running workers"


def _free(address: str, free: dict[str, float], all_: dict[str, float]) -> str:
    gpus = f" and {free.get('GPU', 0):g} of {all_['GPU']:g} GPU" if all_.get("GPU") else ""
    return f"{round(free.get('CPU', 0), 2):g} of {all_.get('CPU', 0):g} CPU{gpus} on {address}"


def _amounts(cpus: float | None, gpus: float | None) -> str:
    gpu = f" and {gpus:g} GPU" if gpus else ""
    return f"{cpus or 0:g} CPU{gpu}"
