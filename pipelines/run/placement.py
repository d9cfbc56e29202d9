"""Groups a job's embeddings into pools of processes, places them on the machines, and refuses a job that would hang.

Ray Data starts a pool's actors before the tasks that feed them: actors that hold every CPU wait for ever for
readers that never run. So at least READ_CPUS of the cluster stay free of actors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from embedders.factory import is_heavy
from pipelines.config.compute import ComputeConfig, StageConfig
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.config.job import JobConfig
from pipelines.errors import PreflightError
from pipelines.run.stage import Resources

# CPUs of a task that reads, and of an actor that mostly waits for a sink. Whole CPUs for readers, since each task that
# runs beside others costs a process and seconds of imports.
READ_CPUS = 1.0
SUPPORT_CPUS = 0.05
# A session with more threads than this scales badly; a larger machine gets more workers instead.
THREADS_A_WORKER = 8


@dataclass(frozen=True)
class Machines:
    """What the job may use: logical CPUs and GPUs over all nodes, and the cores of one node."""

    cpus: float
    gpus: float
    nodes: int
    cores_a_node: int


@dataclass(frozen=True)
class Pool:
    """Embeddings that share the processes of one stage.

    ``token_budgets`` maps an embedding's name to the padded tokens that a model batch of it may have.
    """

    name: str
    embeddings: tuple[EmbeddingConfig, ...]
    resources: Resources
    token_budgets: Mapping[str, int] = field(default_factory=dict)

    def runtime(self, embedding: EmbeddingConfig) -> dict[str, Any]:
        """Arguments of `embedders.model_options.Runtime` for one of its embeddings."""
        resources = self.resources
        return {
            "threads": resources.threads,
            "cuda": "auto" if resources.gpus is None else resources.gpus > 0,
            "token_budget": self.token_budgets.get(embedding.name),
        }


def place_pools(config: JobConfig, machines: Machines) -> list[Pool]:
    """Group the embeddings and place each group; what ``compute.pools`` and ``compute.stages`` say is kept.

    Raises PreflightError when the pools would leave no CPU for readers, or ask for GPUs that are not there.
    """
    compute = config.compute
    groups = _groups(config, machines)
    heavy = [name for name, members in groups.items() if any(is_heavy(one.card) for one in members)]
    pools = []
    for name, members in groups.items():
        wanted = compute.stages.get(name, StageConfig())
        resources = _heavy(wanted, machines, len(heavy)) if name in heavy else _light(wanted, machines)
        pools.append(Pool(name, members, resources, _token_budgets(name, members, compute)))
    _check(pools, machines)
    return pools


def _groups(config: JobConfig, machines: Machines) -> dict[str, tuple[EmbeddingConfig, ...]]:
    """Put the embeddings together that share a pool, by its name, in the order of the first of each."""
    compute = config.compute
    pool_of = {name: pool for pool, names in compute.pools.items() for name in names}
    shared = []
    for embedding in config.embeddings:
        name = embedding.name
        if name in pool_of:
            continue
        placed = compute.stages.get(name, StageConfig()).places
        if placed or (machines.gpus > 0 and is_heavy(embedding.card)):
            pool_of[name] = name
        else:
            shared.append(name)
    pool_of |= dict.fromkeys(shared, ", ".join(shared))
    groups: dict[str, tuple[EmbeddingConfig, ...]] = {}
    for embedding in config.embeddings:
        pool = pool_of[embedding.name]
        groups[pool] = (*groups.get(pool, ()), embedding)
    return groups


def _token_budgets(pool: str, members: Sequence[EmbeddingConfig], compute: ComputeConfig) -> dict[str, int]:
    found: dict[str, int] = {}
    for embedding in members:
        for name in (embedding.name, pool):
            wanted = compute.stages.get(name, StageConfig()).token_budget
            if wanted is not None:
                found.setdefault(embedding.name, wanted)
    return found


def _heavy(wanted: StageConfig, machines: Machines, pools: int) -> Resources:
    # Several models share a GPU where there are not enough; Ray counts in ten thousandths of one.
    gpus = wanted.gpus if wanted.gpus is not None else min(1.0, int(1e4 * machines.gpus / pools) / 1e4)
    if gpus:
        workers = wanted.workers or max(1, int(machines.gpus / gpus) // pools)
        return _resources(wanted, workers, cpus=min(1.0, _share(machines, workers * pools, 0.01)), gpus=gpus, threads=1)
    a_node = max(1, round(machines.cores_a_node / pools / THREADS_A_WORKER))
    workers = wanted.workers or a_node * machines.nodes
    threads = max(1, machines.cores_a_node * machines.nodes // (workers * pools))
    return _resources(wanted, workers, cpus=_share(machines, workers * pools, 0.05), gpus=0, threads=threads)


def _share(machines: Machines, actors: int, least: float) -> float:
    """CPUs for each of some actors, so that readers and the light stages have room beside them."""
    free = machines.cpus - READ_CPUS - 2 * SUPPORT_CPUS
    return max(least, int(75 * free / actors) / 100)


def _light(wanted: StageConfig, machines: Machines) -> Resources:
    workers = wanted.workers or max(1, int(machines.cpus // 16))
    return _resources(wanted, workers, cpus=min(0.5, round(machines.cpus / workers / 20, 2)), gpus=0, threads=None)


def _resources(wanted: StageConfig, workers: int, *, cpus: float, gpus: float, threads: int | None) -> Resources:
    return Resources(
        workers=workers,
        cpus=cpus if wanted.cpus is None else wanted.cpus,
        gpus=gpus if wanted.gpus is None else wanted.gpus,
        threads=wanted.threads or threads,
        actors=True,
    )


def _check(pools: Sequence[Pool], machines: Machines) -> None:
    held = [(pool.name, pool.resources.workers or 0, pool.resources) for pool in pools]
    shown = ", ".join(f"{name}: {workers} x {one.cpus:g} CPU" for name, workers, one in held)
    reserved = sum(workers * one.cpus for _, workers, one in held) + SUPPORT_CPUS * 2
    if reserved > machines.cpus - READ_CPUS:
        raise PreflightError(
            f"the actors would hold {reserved:g} of {machines.cpus:g} CPUs ({shown}) and leave none to read with: the "
            "job would hang. Lower workers or cpus under compute.stages, or give Ray more CPUs, so that at least "
            f"{READ_CPUS:g} CPU stays free; a small job runs without Ray (compute.engine: local)"
        )
    gpus = sum(workers * (one.gpus or 0) for _, workers, one in held)
    if gpus > machines.gpus:
        raise PreflightError(
            f"compute.stages asks for {gpus:g} GPUs and Ray sees {machines.gpus:g}; lower workers or gpus, "
            "or start Ray on a machine whose GPUs it can see"
        )


def place_in_one_process(config: JobConfig) -> list[Pool]:
    """Place all embeddings in this process, one after the other, each with its threads and the GPU that is there."""
    compute = config.compute
    nothing = Machines(cpus=0, gpus=0, nodes=1, cores_a_node=0)
    pools = []
    for name, members in _groups(config, nothing).items():
        wanted = compute.stages.get(name, StageConfig())
        resources = Resources(workers=1, gpus=wanted.gpus, threads=wanted.threads, actors=True)
        pools.append(Pool(name, members, resources, _token_budgets(name, members, compute)))
    return pools
