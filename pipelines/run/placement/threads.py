"""How many threads a model and its tokenizer may use in an actor: a part of the cores of the node that it is on."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from typing import Any

from pipelines.run.stages.stage import Resources
from pipelines.sinks.ray_context import running_ray

log = logging.getLogger("fleetembed")

# Where the tokenizers library reads how many threads it may start, once a process.
TOKENIZER_THREADS = "RAYON_NUM_THREADS"
RUNNING = ("ALIVE", "PENDING_CREATION")


def threads_beside(stages: Sequence[str]) -> int | None:
    """Divide this node's cores among the actors of such stages that are on it; call it in one of them.

    Nodes may have more or fewer cores, and Ray may put more actors on one than on another. None, for all cores, where
    no stages are named or no Ray runs.
    """
    ray = running_ray()
    if not stages or ray is None:
        return None
    context = ray.get_runtime_context()
    node = context.get_node_id()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        counted = next(one["Resources"].get("CPU", 0) for one in ray.nodes() if one["NodeID"] == node)
        actors = _actors_on(node, context.get_job_id(), stages)
    # Ray's table of actors is no promise of its versions.
    except Exception as error:
        log.warning("the actors of this node cannot be counted: %s", error)
        return max(1, cores // len(stages))
    return max(1, min(cores, int(counted) or 1) // max(1, actors))


def _actors_on(node: str, job: str, stages: Sequence[str]) -> int:
    from ray._private import state

    table: dict[str, Any] = state.actors()
    # An actor's class is called after its stages, in ASCII alone.
    titles = [f"({stage})".encode("ascii", "backslashreplace").decode() for stage in stages]
    return sum(
        one["JobID"] == job
        and one["State"] in RUNNING
        and one["Address"]["NodeID"] == node
        and any(title in one["ActorClassName"] for title in titles)
        for one in table.values()
    )


def share_tokenizing(resources: Resources) -> None:
    """Let the tokenizer of an actor on GPUs use the actor's CPUs; call it in the actor, before it tokenizes.

    It would else start a thread for each core of the node, beside those of the node's other cards. A number that the
    environment has stays.
    """
    if resources.gpus and running_ray() is not None:
        os.environ.setdefault(TOKENIZER_THREADS, str(max(1, math.floor(resources.cpus))))
