"""Groups a job's embeddings into pools of processes, places them on the nodes, and refuses a job that would hang.

Ray Data starts a pool's actors before the tasks that feed them: actors that hold every CPU wait for ever for
readers that never run. So some node must keep the CPUs of a reader, besides the actors. Ray places actors by its own
rules, and moves none: the sizes that are chosen here leave room wherever they land (see `fitting.py`), those that a job
gives must fit if they are packed well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from embedders.factory import is_heavy
from pipelines.config.compute import ComputeConfig
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.config.job import JobConfig
from pipelines.config.placement import StageConfig
from pipelines.run.placement.nodes import Machines
from pipelines.run.placement.preflight import homes_of, refuse_what_hangs
from pipelines.run.placement.sizes import Wish, choose_sizes
from pipelines.run.placement.threads import threads_beside
from pipelines.run.stages.stage import Resources


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
        # An actor sees the cards that Ray gave it, numbered from 0.
        cards = int(resources.gpus or 0)
        several = {"device_ids": list(range(cards))} if cards > 1 and not embedding.stays_on_cpu else {}
        return {
            **several,
            "threads": resources.threads or threads_beside(resources.beside),
            "cuda": False if embedding.stays_on_cpu else "auto" if resources.gpus is None else resources.gpus > 0,
            "token_budget": self.token_budgets.get(embedding.name),
        }


def place_pools(config: JobConfig, machines: Machines) -> list[Pool]:
    """Group the embeddings and place each group; what ``compute.pools`` and ``compute.stages`` say is kept.

    Raises PreflightError when an actor fits no node, when the pools would leave no node with the CPUs of a reader, or
    when a pool asks for GPUs, labels or resources that are not there.
    """
    compute = config.compute
    groups = _groups(config, machines)
    wishes = []
    for name, members in groups.items():
        wanted = compute.stages.get(name, StageConfig())
        heavy = any(is_heavy(one.card) for one in members)
        if heavy and not any(map(_uses_gpus, members)):
            wanted = wanted.model_copy(update={"gpus": 0})
        wishes.append(Wish(name, wanted, heavy, homes_of(name, wanted, machines)))
    writers = max((section.writers for section in config.sink), default=0)
    sizes = choose_sizes(wishes, machines, writers)
    refuse_what_hangs(sizes, machines, writers, compute)
    return [
        Pool(name, members, sizes[name], _token_budgets(name, members, compute)) for name, members in groups.items()
    ]


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
        if placed or (machines.gpus > 0 and _uses_gpus(embedding)):
            pool_of[name] = name
        else:
            shared.append(name)
    pool_of |= dict.fromkeys(shared, ", ".join(shared))
    groups: dict[str, tuple[EmbeddingConfig, ...]] = {}
    for embedding in config.embeddings:
        pool = pool_of[embedding.name]
        groups[pool] = (*groups.get(pool, ()), embedding)
    return groups


def _uses_gpus(embedding: EmbeddingConfig) -> bool:
    return is_heavy(embedding.card) and not embedding.stays_on_cpu


def _token_budgets(pool: str, members: Sequence[EmbeddingConfig], compute: ComputeConfig) -> dict[str, int]:
    found: dict[str, int] = {}
    for embedding in members:
        for name in (embedding.name, pool):
            wanted = compute.stages.get(name, StageConfig()).token_budget
            if wanted is not None:
                found.setdefault(embedding.name, wanted)
    return found


def place_in_one_process(config: JobConfig) -> list[Pool]:
    """Place all embeddings in this process, one after the other, each with its threads and the GPU that is there."""
    compute = config.compute
    nothing = Machines(())
    pools = []
    for name, members in _groups(config, nothing).items():
        wanted = compute.stages.get(name, StageConfig())
        resources = Resources(workers=1, gpus=wanted.gpus, threads=wanted.threads, actors=True)
        pools.append(Pool(name, members, resources, _token_budgets(name, members, compute)))
    return pools
