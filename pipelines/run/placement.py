"""Places the actor pools on the cluster, and refuses a job that would hang there.

Ray Data starts a pool's actors before the tasks that feed them: actors that hold every CPU wait for ever for
readers that never run. So at least READ_CPUS of the cluster stay free of actors.
"""

from __future__ import annotations

from dataclasses import dataclass

from embedders.factory import is_heavy
from pipelines.config.compute import StageConfig
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.config.job import JobConfig
from pipelines.errors import PreflightError

# CPUs of a task that reads, and of one that mostly waits for a sink. Whole CPUs for readers, since each task that
# runs beside others costs a process and seconds of imports.
READ_CPUS = 1.0
SUPPORT_CPUS = 0.05
# A session with more threads than this scales badly; a larger machine gets more workers instead.
THREADS_A_WORKER = 8


@dataclass(frozen=True)
class Cluster:
    """What the job may use: logical CPUs and GPUs over all nodes, and the cores of one node."""

    cpus: float
    gpus: float
    nodes: int
    cores_a_node: int


@dataclass(frozen=True)
class Placement:
    """One actor pool: actors, and what Ray sets aside for each (CPUs, GPUs) or the actor uses (threads)."""

    workers: int
    cpus: float
    gpus: float = 0
    threads: int | None = None
    token_budget: int | None = None


def place_stages(config: JobConfig, cluster: Cluster) -> dict[str, Placement]:
    """Choose a placement for each embedding; what ``compute.stages`` says is kept.

    Raises PreflightError when the pools would leave no CPU for readers, or ask for GPUs that are not there.
    """
    heavy = [embedding for embedding in config.embeddings if is_heavy(embedding.card)]
    placements = {}
    for embedding in config.embeddings:
        wanted = config.compute.stages.get(embedding.name, StageConfig())
        chosen = _heavy(wanted, cluster, len(heavy)) if embedding in heavy else _light(wanted, cluster)
        placements[embedding.name] = chosen
    _check(placements, config.embeddings, cluster)
    return placements


def _heavy(wanted: StageConfig, cluster: Cluster, pools: int) -> Placement:
    gpus = wanted.gpus if wanted.gpus is not None else float(cluster.gpus > 0)
    if gpus:
        workers = wanted.workers or max(1, int(cluster.gpus / gpus) // pools)
        return _placement(wanted, workers, cpus=_share(cluster, workers * pools, most=1.0), gpus=gpus, threads=1)
    a_node = max(1, round(cluster.cores_a_node / pools / THREADS_A_WORKER))
    workers = wanted.workers or a_node * cluster.nodes
    threads = max(1, cluster.cores_a_node * cluster.nodes // (workers * pools))
    free = cluster.cpus - READ_CPUS - 2 * SUPPORT_CPUS
    return _placement(
        wanted, workers, cpus=max(0.05, int(75 * free / (pools * workers)) / 100), gpus=0, threads=threads
    )


def _share(cluster: Cluster, actors: int, most: float = float("inf")) -> float:
    """CPUs for each of some actors, so that readers and the light stages have room beside them."""
    free = cluster.cpus - READ_CPUS - 2 * SUPPORT_CPUS
    return min(most, max(0.01, int(75 * free / actors) / 100))


def _light(wanted: StageConfig, cluster: Cluster) -> Placement:
    workers = wanted.workers or max(1, int(cluster.cpus // 16))
    return _placement(wanted, workers, cpus=min(0.5, round(cluster.cpus / workers / 20, 2)), gpus=0, threads=None)


def _placement(wanted: StageConfig, workers: int, *, cpus: float, gpus: float, threads: int | None) -> Placement:
    return Placement(
        workers=workers,
        cpus=cpus if wanted.cpus is None else wanted.cpus,
        gpus=gpus if wanted.gpus is None else wanted.gpus,
        threads=wanted.threads or threads,
        token_budget=wanted.token_budget,
    )


def _check(placements: dict[str, Placement], embeddings: list[EmbeddingConfig], cluster: Cluster) -> None:
    shown = ", ".join(f"{name}: {p.workers} x {p.cpus:g} CPU" for name, p in placements.items())
    reserved = sum(p.workers * p.cpus for p in placements.values()) + SUPPORT_CPUS * 2
    if reserved > cluster.cpus - READ_CPUS:
        raise PreflightError(
            f"the actors would hold {reserved:g} of {cluster.cpus:g} CPUs ({shown}) and leave none to read with: the "
            f"job would hang. Lower workers or cpus under compute.stages, so that at least {READ_CPUS:g} CPU stays free"
        )
    gpus = sum(p.workers * p.gpus for p in placements.values())
    if gpus > cluster.gpus:
        raise PreflightError(
            f"compute.stages asks for {gpus:g} GPUs and Ray sees {cluster.gpus:g}; lower workers or gpus, "
            "or start Ray on a machine whose GPUs it can see"
        )
