"""Whether actors fit the nodes of a cluster: packed as well as can be, and wherever Ray puts them.

Ray places each actor by itself, on any node with room for it (Ray Data asks for a spread over the nodes), and moves
none. So what an ideal packing has room for may not fit once Ray has placed the first actors: `always_fits` is the test
for sizes that are chosen, `pack` that for sizes that a user gave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.run.placement.nodes import Node

# Ray counts in ten thousandths.
ROUNDING = 1e-6
# On many nodes, room for all actors without GPUs on one of them would leave next to no CPUs for those with GPUs.
FEW_NODES, UNEVEN = 16, 4


@dataclass(frozen=True)
class Actor:
    """What one of ``count`` equal processes wants of a node; its labels must meet one of ``selectors``."""

    pool: str
    cpus: float
    gpus: float = 0.0
    count: int = 1
    resources: Mapping[str, float] = field(default_factory=dict)
    selectors: tuple[Mapping[str, str], ...] = ({},)

    def may_run_on(self, node: Node) -> bool:
        """Whether a node that is empty takes it."""
        return self.is_let_on(node) and Room(node).has(self)

    def is_let_on(self, node: Node) -> bool:
        """Whether a node's labels and its kinds of resources let it run there, whatever there is of them."""
        kinds = all(node.resources.get(name, 0) > 0 for name, amount in self.resources.items() if amount)
        return kinds and any(node.meets(selector) for selector in self.selectors)


class Room:
    """What is free of a node. A part of a GPU is on one card, and more than one GPU are whole cards."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.cpus = node.cpus
        self.cards = [1.0] * int(node.gpus) + ([node.gpus % 1] if node.gpus % 1 else [])
        self._resources = dict(node.resources)

    def has(self, actor: Actor) -> bool:
        """Whether there is room for one of them."""
        others = all(self._resources.get(name, 0) >= wanted - ROUNDING for name, wanted in actor.resources.items())
        return others and self.cpus >= actor.cpus - ROUNDING and self._cards_for(actor.gpus) is not None

    def take(self, actor: Actor) -> None:
        """Set aside what one of them wants."""
        self.cpus -= actor.cpus
        for card, part in self._cards_for(actor.gpus) or ():
            self.cards[card] -= part
        for name, wanted in actor.resources.items():
            self._resources[name] -= wanted

    def _cards_for(self, gpus: float) -> list[tuple[int, float]] | None:
        if not gpus:
            return []
        whole = int(gpus) if gpus >= 1 else 1
        part = 1.0 if gpus >= 1 else gpus
        free = [(card, part) for card, left in enumerate(self.cards) if left >= part - ROUNDING]
        # Those that are begun first.
        free.sort(key=lambda one: self.cards[one[0]])
        return free[:whole] if len(free) >= whole else None


def pack(actors: Sequence[Actor], nodes: Sequence[Node]) -> tuple[list[Room], Actor | None]:
    """Place all actors, those first that have the fewest nodes to choose from, and then the largest.

    Returns what is free of each node, and the first actor for which there was no room, or None.
    """
    rooms = [Room(node) for node in nodes]
    choices = {id(actor): [room for room in rooms if actor.is_let_on(room.node)] for actor in actors}
    for actor in sorted(actors, key=lambda one: (len(choices[id(one)]), -one.gpus, -one.cpus)):
        # Nodes with GPUs last, where none is wanted.
        fitting = sorted(choices[id(actor)], key=lambda room: bool(room.cards) and not actor.gpus)
        left = actor.count
        for room in fitting:
            while left and room.has(actor):
                room.take(actor)
                left -= 1
        if left:
            return rooms, actor
    return rooms, None


def always_fits(actors: Sequence[Actor], task: Actor, nodes: Sequence[Node]) -> bool:
    """Whether each actor finds a node with enough CPUs, wherever the others are, and a task finds one after them.

    One that wants ``c`` CPUs is shut out only where on each node more than the node's CPUs less ``c`` are taken: so it
    finds room if all others together want no more than the sum of that over the nodes that let it in. One that wants
    GPUs may be left with the node that has the last free one: there, all actors without GPUs and as many as its GPUs
    take must fit at once. On more than FEW_NODES nodes, Ray's spread is trusted: no node gets more than UNEVEN times
    its share of the actors without GPUs.
    """
    homes = {one.pool: [node for node in nodes if one.may_run_on(node)] for one in (*actors, task)}
    ids = {pool: frozenset(node.id for node in found) for pool, found in homes.items()}
    for one in (*actors, task):
        near = [other for other in actors if ids[other.pool] & ids[one.pool]]
        others = sum(other.cpus * other.count for other in near) - (one.cpus if one is not task else 0)
        spare = sum(node.cpus - one.cpus for node in homes[one.pool])
        if not homes[one.pool] or others > spare + ROUNDING:
            return False
        if one.gpus and not all(_takes_all_at_once(node, near, len(nodes)) for node in homes[one.pool]):
            return False
    return True


def _takes_all_at_once(node: Node, actors: Sequence[Actor], nodes: int) -> bool:
    with_gpus = [one for one in actors if one.gpus]
    at_most = min(sum(one.count for one in with_gpus), int(node.gpus / min(one.gpus for one in with_gpus) + ROUNDING))
    others = sum(one.cpus * one.count for one in actors if not one.gpus)
    if nodes > FEW_NODES:
        others *= UNEVEN / nodes
    return at_most * max(one.cpus for one in with_gpus) + others <= node.cpus + ROUNDING
