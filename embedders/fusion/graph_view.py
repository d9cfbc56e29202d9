"""A graph's nodes by what they make and take."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from embedders.onnx_messages import array_of, make_tensor

# Of the names of values that are not the file's.
PREFIX = "fused/"


class GraphView:
    """A graph's nodes by what they make and take, and its constants."""

    def __init__(self, graph: Any, tensors: Mapping[str, Any]) -> None:
        self.graph = graph
        self.made = {name: node for node in graph.node for name in node.output}
        self.users: dict[str, list[Any]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self.users[name].append(node)
        self.outputs = {value.name for value in graph.output}
        self.tensors = dict(tensors)
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self.tensors[node.output[0]] = node.attribute[0].t

    def chain(self, name: str, *kinds: str) -> list[Any] | None:
        """The node of the first kind that makes a value, that of the second that makes its first input, and so on."""
        nodes = []
        for kind in kinds:
            node = self.made.get(name)
            if node is None or node.op_type != kind or node.domain not in ("", "ai.onnx"):
                return None
            nodes.append(node)
            name = node.input[0]
        return nodes

    def origin(self, name: str) -> str:
        """The value that another one is, but for its type and its axes of one."""
        while (node := self.made.get(name)) is not None and node.op_type in ("Unsqueeze", "Cast", "Expand", "Identity"):
            name = node.input[0]
        return name

    def behind(self, name: str) -> Any | None:
        """The node that makes a value, but for its type and its axes of one."""
        return self.made.get(self.origin(name))

    def add_constant(self, name: str, values: npt.NDArray[Any]) -> str:
        """Add a constant under a name of this package's, unless it is there already; returns the name."""
        name = f"{PREFIX}{name}"
        if name not in self.tensors:
            self.tensors[name] = make_tensor(name, values)
            self.graph.initializer.append(self.tensors[name])
        return name

    def constant(self, name: str) -> npt.NDArray[Any] | None:
        """Numbers of a small constant."""
        tensor = self.tensors.get(name)
        return None if tensor is None else array_of(tensor)

    def scalar(self, name: str) -> float | None:
        """A constant of one number."""
        values = self.constant(name)
        return float(values.ravel()[0]) if values is not None and values.size == 1 else None

    def is_near(self, name: str, value: float) -> bool:
        """Whether a value is this constant, be it rounded to float16."""
        scalar = self.scalar(name)
        return scalar is not None and math.isclose(scalar, value, rel_tol=1e-3)

    def only_user(self, name: str, kind: str) -> Any | None:
        """The one node that takes a value, but for its shape, where it is of this kind and the value no output."""
        users = [node for node in self.users[name] if node.op_type != "Shape"]
        return users[0] if len(users) == 1 and users[0].op_type == kind and name not in self.outputs else None

    def replace(self, new: dict[str, list[Any]], first: Sequence[Any] = ()) -> set[str]:
        """Put new nodes in the place of those that make the values in ``new``, and drop what nothing needs any more.

        Returns the names that the nodes that stay take.
        """
        nodes = list(first)
        for node in self.graph.node:
            nodes += new.get(node.output[0], [node])
        needed, kept = set(self.outputs), []
        for node in reversed(nodes):
            if needed.intersection(node.output):
                needed.update(_taken(node))
                kept.append(node)
        del self.graph.node[:]
        self.graph.node.extend(reversed(kept))
        return needed


def _taken(node: Any) -> Iterator[str]:
    """Names that a node takes, and its branches from outside of them."""
    yield from node.input
    for attribute in node.attribute:
        made = {name for inner in attribute.g.node for name in inner.output}
        yield from (name for inner in attribute.g.node for name in _taken(inner) if name not in made)


def ints(node: Any, name: str) -> list[int]:
    """An attribute's integers, [] where the node has none of that name."""
    for attribute in node.attribute:
        if attribute.name == name:
            return list(attribute.ints) or [attribute.i]
    return []
