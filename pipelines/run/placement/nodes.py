"""The nodes of a cluster, as placement sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.config.placement import ExpectConfig

# CPUs of a task that reads. Whole CPUs, since each task that runs beside others costs a process and seconds of imports.
READ_CPUS = 1.0


@dataclass(frozen=True)
class Node:
    """What one node offers.

    ``cpus`` and ``gpus`` are what Ray counts there, ``cores`` how many threads of models may run at once. ``resources``
    are all others that Ray counts (``accelerator_type:A100``, custom ones). ``address`` tells machines apart: nodes of
    one address see the same disks. ``memory`` is what Ray sets aside for work, in bytes.
    """

    id: str
    cpus: float
    gpus: float = 0.0
    cores: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, float] = field(default_factory=dict)
    address: str = ""
    memory: float = field(default=0.0, compare=False)

    @property
    def title(self) -> str:
        """The node as messages name it."""
        return " ".join(filter(None, [self.address, self.id[:8]]))

    def meets(self, selector: Mapping[str, str]) -> bool:
        """Whether its labels are what a label selector of Ray asks for: ``x``, ``!x``, ``in(x, y)``, ``!in(x, y)``."""
        return all(_meets(self.labels.get(key), wanted) for key, wanted in selector.items())


@dataclass(frozen=True)
class Machines:
    """The nodes that a job may use, and what is to be told of them in its report."""

    nodes: tuple[Node, ...]
    notices: tuple[str, ...] = ()

    @property
    def cpus(self) -> float:
        """CPUs over all nodes."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        """GPUs over all nodes."""
        return sum(node.gpus for node in self.nodes)

    @property
    def addresses(self) -> list[str]:
        """Machines that the nodes are on."""
        return sorted({node.address for node in self.nodes})

    @property
    def read_cpus(self) -> float:
        """CPUs of a task that reads: a whole one, or half of the largest node where that has less than two.

        An actor that lands on a node of one CPU would else take the place of the only reader there.
        """
        largest = max((node.cpus for node in self.nodes), default=0.0)
        return READ_CPUS if largest >= 2 * READ_CPUS else largest / 2

    def describe(self) -> str:
        """The nodes for messages: the largest first, equal ones together."""
        return describe(self.nodes)


def describe(nodes: Sequence[Node]) -> str:
    """Name nodes by what they have, the largest first, equal ones together: ``2 nodes of 4 CPUs, 1 node of 1 CPU``."""
    counts: dict[str, int] = {}
    # Ray lists its nodes in any order.
    for node in sorted(nodes, key=lambda node: (node.cpus, node.gpus), reverse=True):
        shape = count_of(node.cpus, "CPU") + (f" and {count_of(node.gpus, 'GPU')}" if node.gpus else "")
        counts[shape] = counts.get(shape, 0) + 1
    return ", ".join(f"{count_of(count, 'node')} of {shape}" for shape, count in counts.items())


def missing(expect: ExpectConfig, machines: Machines) -> str:
    """Tell what has not come of what is expected; empty where all has."""
    have = {
        "cpus": machines.cpus,
        "gpus": machines.gpus,
        "nodes": float(sum(node.cpus > 0 or node.gpus > 0 for node in machines.nodes)),
    }
    names = {"cpus": "CPUs", "gpus": "GPUs", "nodes": "nodes"}
    lacking = [
        f"{have[key]:g} of {wanted:g} {names[key]}"
        for key in ("gpus", "cpus", "nodes")
        if (wanted := getattr(expect, key)) is not None and have[key] < wanted
    ]
    return ", ".join(lacking)


def count_of(number: float, what: str) -> str:
    """A number of things for messages: ``1 GPU``, ``2 GPUs``."""
    return f"{number:g} {what}" if number == 1 else f"{number:g} {what}s"


def _meets(label: str | None, wanted: str) -> bool:
    negated = wanted.startswith("!")
    value = wanted.removeprefix("!")
    if value.startswith("in(") and value.endswith(")"):
        values = [one.strip() for one in value[3:-1].split(",")]
    else:
        values = [value]
    return (label in values) != negated
