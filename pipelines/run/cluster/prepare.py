"""Prepares a cluster's nodes for a job: each one finds or downloads the job's models once, before any actor starts.

What a node has is compared with what the driver has: vectors of two models must never meet in one place. A node that
joins later looks for itself, and its actors compare fingerprints too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.embed.job_models import JobModels, look_for_models
from pipelines.errors import PreflightError
from pipelines.run.cluster.connection import describe_nodes
from pipelines.run.placement.fitting import Actor
from pipelines.run.placement.nodes import Node

log = logging.getLogger("fleetembed")

SECONDS_BETWEEN_LINES = 15.0
NODES_A_LINE = 4


@dataclass
class NodeWork:
    """What one node is about: which model it looks for, since when (monotonic), and what went wrong."""

    name: str
    looks_for: str = "a worker process to start"
    since: float = field(default_factory=time.monotonic)
    troubles: list[str] = field(default_factory=list)

    def take(self, model: str, trouble: str | None) -> None:
        """Note what the node says."""
        if trouble is None:
            self.looks_for, self.since = model, time.monotonic()
        else:
            self.troubles.append(trouble)

    def __str__(self) -> str:
        return f"{self.name} ({self.looks_for}, {time.monotonic() - self.since:.0f} s)"


def prepare_nodes(describe: Callable[[], JobModels], actors: Mapping[str, Actor], seconds: float) -> None:
    """Let each node that may run actors find or download the models that ``describe`` gives, and compare them.

    ``actors`` says by an embedding's name what its actors want of a node; nodes that can run none of them are spared
    its model. Where the driver's node is the only one, nothing is done: the driver has found them. Raises
    PreflightError that names the nodes that lack models, have others, or take longer than ``seconds``. A node that is
    lost meanwhile is passed over.
    """
    nodes = [node for node in describe_nodes().nodes if node.cpus or node.gpus]
    here = ray.get_runtime_context().get_node_id()
    if all(node.id == here for node in nodes):
        return
    models, started = describe(), time.monotonic()
    wanted = [(node, models.without(_elsewhere(node, actors))) for node in nodes]
    works = {_start(node.id, some): NodeWork(_name(node)) for node, some in wanted if some.count}
    if not works:
        return
    what = f"{_counted(models.count, 'model')} on {_counted(len(works), 'node')}"
    log.info("preparing %s", what)
    all_works = list(works.values())
    try:
        _follow(works, started + seconds)
    finally:
        for stream in works:
            ray.cancel(stream, force=True)
    if works:
        raise PreflightError(
            f"{_counted(len(works), 'node')} did not have the job's models ready within {seconds:g} s "
            f"(compute.prepare_seconds): {_listed(works.values(), None)}. What has arrived there stays: run the job "
            f"again, with more time. {_ADVICE}"
        )
    if any(work.troubles for work in all_works):
        raise PreflightError(_describe_troubles(all_works))
    log.info("prepared %s in %.0f s", what, time.monotonic() - started)


def _elsewhere(node: Node, actors: Mapping[str, Actor]) -> set[str]:
    return {embedding for embedding, actor in actors.items() if not actor.may_run_on(node)}


_ADVICE = (
    "A node without network takes models from its cache: fill it beforehand, by `fleetembed models download` on that "
    "node, or set FLEETEMBED_CACHE_DIR, in the environment that Ray is started with there, to a folder that has them, "
    "such as a shared disk. A model's path may also be a folder that all nodes have, or the URL of one (s3://...)"
)


@ray.remote(num_cpus=0, max_retries=0)
def _look(models: JobModels) -> Iterator[tuple[str, str | None]]:
    yield from look_for_models(models)


def _start(node_id: str, models: JobModels) -> Any:
    pinned = NodeAffinitySchedulingStrategy(node_id, soft=False)
    return _look.options(num_returns="streaming", scheduling_strategy=pinned).remote(models)


def _follow(works: dict[Any, NodeWork], deadline: float) -> None:
    """Take what nodes say until each is through, or the time is over; those that are through leave ``works``."""
    told = time.monotonic()
    ready: list[Any]
    while works and (now := time.monotonic()) < deadline:
        if now - told >= SECONDS_BETWEEN_LINES:
            told = now
            log.info("still preparing %s", _listed(works.values(), NODES_A_LINE))
        patience = max(0.0, min(told + SECONDS_BETWEEN_LINES, deadline) - now)
        ready, _ = ray.wait(list(works), num_returns=1, timeout=patience, fetch_local=False)
        for stream in ready:
            try:
                works[stream].take(*ray.get(next(stream)))
            except StopIteration:
                del works[stream]
            except ray.exceptions.RayTaskError as error:
                lines = str(error).strip().splitlines()
                works.pop(stream).troubles.append(lines[-1])
            except ray.exceptions.RayError as error:
                log.warning(
                    "node %s was lost while it was prepared (%s); the others go on",
                    *(works.pop(stream).name, type(error).__name__),
                )


def _describe_troubles(works: Iterable[NodeWork]) -> str:
    """One message for all nodes; those that say the same are named together."""
    by_trouble: dict[str, list[str]] = {}
    count = total = 0
    for work in works:
        total += 1
        count += bool(work.troubles)
        for trouble in work.troubles:
            by_trouble.setdefault(trouble, []).append(work.name)
    lines = [f"- node{'s' if len(names) > 1 else ''} {', '.join(names)}: {why}" for why, names in by_trouble.items()]
    places = "\n".join(lines)
    return f"{count} of {_counted(total, 'node')} cannot run the job's models:\n{places}\n{_ADVICE}"


def _listed(works: Iterable[NodeWork], most: int | None) -> str:
    shown = [str(work) for work in works]
    more = 0 if most is None else len(shown) - most
    return ", ".join(shown[:most]) + (f" and {more} more" if more > 0 else "")


def _name(node: Node) -> str:
    """A node's address, and the beginning of its id, since nodes may share a machine."""
    return f"{node.address} ({node.id[:8]})"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
