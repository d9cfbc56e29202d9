"""How many actors a pool has, and how much of a node each of them takes."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipelines.config.placement import StageConfig
from pipelines.run.placement.fitting import Actor, always_fits, pack
from pipelines.run.placement.nodes import Machines, Node
from pipelines.run.stages.stage import Resources

log = logging.getLogger("fleetembed")

# CPUs of an actor that mostly waits for a sink.
SUPPORT_CPUS = 0.05
# A session with more threads than this scales badly; a larger machine gets more workers instead.
THREADS_A_WORKER = 8
# CPUs of an actor on GPUs, for tokenizing: a core tokenizes some hundred thousand tokens a second, and a fast card
# takes a few million of a small model.
MOST_TOKENIZING_CPUS = 16
# Part of a node's CPUs that its models get: the rest is for readers and light stages.
SHARE_OF_MODELS = 0.75
UNSURE = (
    "what compute.stages gives fits the nodes (%s) if it is packed well, and Ray may place it otherwise: should actors "
    "or readers wait for room, leave out cpus, or lower them"
)
# Nodes that are smaller than this part of the largest one read, and embed only where Ray puts actors there.
SMALL = 0.25
LEAST_CPUS = 0.01
# What Ray counts of a node with such an accelerator, and what one that asks for it takes of that.
ACCELERATOR, A_BIT = "accelerator_type:{}", 0.001


@dataclass(frozen=True)
class Wish:
    """What a job says of a pool; ``heavy`` pools have neural networks. ``homes`` are nodes that it is meant for."""

    name: str
    wanted: StageConfig
    heavy: bool
    homes: tuple[Node, ...]

    @property
    def takes_gpus(self) -> bool:
        """Whether its actors get GPUs: those it asks for, or those that its nodes have."""
        if self.wanted.gpus is not None:
            return self.wanted.gpus > 0
        return self.heavy and sum(node.gpus for node in self.homes) > 0

    def meets(self, other: Wish) -> bool:
        """Whether actors of both may be on one node."""
        return self is other or not {node.id for node in self.homes}.isdisjoint(node.id for node in other.homes)


def demand(name: str, resources: Resources, *, at_most: bool = False) -> Actor:
    """What the actors of a pool want of the nodes: those that are there from the start, or all that there may be."""
    least = resources.workers if resources.least is None or at_most else resources.least
    kinds = {ACCELERATOR.format(resources.accelerator_type): A_BIT} if resources.accelerator_type else {}
    return Actor(
        name,
        cpus=resources.cpus,
        gpus=resources.gpus or 0.0,
        count=least or 0,
        resources={**resources.resources, **kinds},
        selectors=(resources.label_selector, *resources.fallback_selectors),
    )


def beside_models(writers: int, machines: Machines) -> tuple[Actor, Actor]:
    """What a job wants beside its models: actors that write, and a task that reads."""
    return Actor("write", SUPPORT_CPUS, count=max(2, writers)), Actor("read", machines.read_cpus)


def choose_sizes(wishes: Sequence[Wish], machines: Machines, writers: int) -> dict[str, Resources]:
    """Choose what is left open of each pool.

    CPUs shrink until all actors and a reader fit wherever Ray places them (see `always_fits`); where sizes that are
    given stand against that, until they fit if they are packed well, and where they never do, as far as they can.
    """
    chosen = {wish.name: _first_size(wish, wishes, machines, writers) for wish in wishes}
    free = [wish.name for wish in wishes if wish.wanted.cpus is None]
    writing, reading = beside_models(writers, machines)

    def fits(actors: Sequence[Actor]) -> bool:
        return always_fits([*actors, writing], reading, machines.nodes)

    def packs(actors: Sequence[Actor]) -> bool:
        return pack([*actors, writing, reading], machines.nodes)[1] is None

    sizes = dict(chosen)
    for enough in (fits, packs):
        for step in range(60):
            for name in free:
                size = max(LEAST_CPUS, math.floor(chosen[name].cpus * 0.9**step * 100) / 100)
                sizes[name] = replace(chosen[name], cpus=min(size, chosen[name].cpus))
            if enough([demand(*one) for one in sizes.items()]):
                if enough is packs and len(machines.nodes) > 1:
                    log.warning(UNSURE, machines.describe())
                return sizes
    return sizes


def _first_size(wish: Wish, wishes: Sequence[Wish], machines: Machines, writers: int) -> Resources:
    rivals = [one for one in wishes if one.heavy and one.meets(wish)]
    beside = machines.read_cpus + max(2, writers) * SUPPORT_CPUS
    if not wish.heavy:
        workers = wish.wanted.most or max(1, int(machines.cpus // 16))
        cpus = max(LEAST_CPUS, min(0.5, round(machines.cpus / workers / 20, 2)))
        return _resources(wish.wanted, workers, cpus=cpus, gpus=wish.wanted.gpus or 0)
    if wish.takes_gpus:
        return _size_on_gpus(wish, [one for one in rivals if one.takes_gpus], beside)
    return _size_on_cpus(wish, rivals, beside, alone=len(machines.nodes) == 1)


def _size_on_gpus(wish: Wish, rivals: Sequence[Wish], beside: float) -> Resources:
    workers, gpus = _on_gpus(wish, rivals)
    a_gpu = workers / (sum(one.gpus for one in wish.homes) or 1)
    cpus = _share(wish, {node.id: a_gpu * node.gpus for node in wish.homes}, rivals, beside)
    cpus = cpus if cpus < 1 else float(min(MOST_TOKENIZING_CPUS, int(cpus)))
    return _resources(wish.wanted, workers, cpus=cpus, gpus=gpus, threads=1)


def _size_on_cpus(wish: Wish, rivals: Sequence[Wish], beside: float, *, alone: bool) -> Resources:
    wanted = wish.wanted
    large = _large(wish.homes)
    cores = sum(node.cores for node in large)
    on_node = {node.id: max(1, round(node.cores / _count_on(node, rivals) / THREADS_A_WORKER)) for node in large}
    workers = max(1, sum(on_node.values()))
    if wanted.least is not None and wanted.most is not None:
        workers = min(wanted.most, max(wanted.least, workers))
        on_node = {node.id: max(1, math.ceil(workers * node.cores / cores)) for node in large}
    sized = _resources(wanted, workers, cpus=_share(wish, on_node, rivals, beside), gpus=0)
    if wanted.threads:
        return sized
    if alone:
        return replace(sized, threads=max(1, cores // (workers * len(rivals))))
    return replace(sized, beside=tuple(one.name for one in rivals if not one.takes_gpus))


def _large(nodes: Sequence[Node]) -> list[Node]:
    largest = max((node.cores for node in nodes), default=0)
    return [node for node in nodes if node.cpus > 0 and node.cores >= SMALL * largest]


def _count_on(node: Node, wishes: Sequence[Wish]) -> int:
    return max(1, sum(node in wish.homes for wish in wishes))


def _on_gpus(wish: Wish, rivals: Sequence[Wish]) -> tuple[int, float]:
    """Actors of a pool, and the GPUs of each; models share a card where there are more models than cards.

    Pools that meet on some nodes get what all of them would find on the smallest set of nodes of one of them, since Ray
    may put any of them there first.
    """
    cards = [int(node.gpus) for node in min((one.homes for one in rivals), key=_cards, default=())]
    gpus = wish.wanted.gpus
    if gpus is None:
        models_a_card = math.ceil(len(rivals) / max(1, sum(cards)))
        gpus = math.floor(1e4 / models_a_card) / 1e4
    slots = sum(card // max(1, int(gpus)) if gpus >= 1 else card * int(1 / gpus + 1e-6) for card in cards)
    if wish.wanted.most is not None:
        return wish.wanted.most, gpus
    given = [one.wanted for one in rivals if one.wanted.most is not None]
    slots -= sum(math.ceil((one.most or 0) * (one.gpus or gpus) / gpus) for one in given)
    return max(1, slots // (len(rivals) - len(given))), gpus


def _cards(nodes: Sequence[Node]) -> int:
    return sum(int(node.gpus) for node in nodes)


def _share(wish: Wish, on_node: Mapping[str, float], rivals: Sequence[Wish], beside: float) -> float:
    """CPUs for each actor of a pool, of which a node has so many, so that readers and light stages have room there."""
    shares = [
        SHARE_OF_MODELS * (node.cpus - beside) / (max(1.0, on_node[node.id]) * _count_on(node, rivals))
        for node in wish.homes
        if on_node.get(node.id)
    ]
    return max(LEAST_CPUS, math.floor(100 * min(shares, default=0.0) + 1e-9) / 100)


def _resources(wanted: StageConfig, workers: int, *, cpus: float, gpus: float, threads: int | None = None) -> Resources:
    grows = wanted.least != wanted.most
    return Resources(
        workers=wanted.most if grows else workers,
        least=wanted.least if grows else None,
        cpus=cpus if wanted.cpus is None else wanted.cpus,
        gpus=gpus,
        threads=wanted.threads or threads,
        actors=True,
        label_selector=wanted.label_selector or {},
        fallback_selectors=wanted.selectors[1:],
        accelerator_type=wanted.accelerator_type,
        resources=wanted.resources or {},
    )
