"""Linear layers and attention of BERT-like graphs, found by how exporters spell them.

Known are ``embedders.export.bert`` and PyTorch's exports of Transformers' BERT with its own attention, whose sizes may
be computed of the inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from embedders.fusion.graph_view import GraphView, ints
from embedders.onnx_messages import FLOAT, FLOAT16

MASK = "attention_mask"
# Whatever lets a padded key have no weight.
LEAST_BIAS = 1e4


@dataclass(frozen=True)
class Linear:
    """x W + b: names of x, W and b, of the product, and of the sum."""

    x: str
    weight: str
    bias: str
    product: str
    output: str


@dataclass(frozen=True)
class Block:
    """Attention from the projections to the heads put side by side; ``nodes`` are those between, in their order."""

    query: Linear
    key: Linear
    value: Linear
    heads: int
    head_size: int
    scale: float
    output: str
    nodes: list[Any]
    dtype: int


def attention_block(graph: GraphView, softmax: Any) -> Block | None:
    """Attention around a softmax: softmax(scale q k' + bias of the mask) v; None where it is spelled otherwise."""
    if softmax.op_type != "Softmax" or ints(softmax, "axis") not in ([-1], [3]):
        return None
    scores = graph.chain(softmax.input[0], "Add")
    mixed = graph.only_user(softmax.output[0], "MatMul")
    if scores is None or mixed is None or mixed.input[0] != softmax.output[0]:
        return None
    (added,) = scores
    scaled = next((nodes for name in added.input if (nodes := _scaled(graph, name)) is not None), None)
    masked = [name for name in added.input if _is_mask(graph, name)]
    transposed = graph.only_user(mixed.output[0], "Transpose")
    merged = None if transposed is None else graph.only_user(transposed.output[0], "Reshape")
    if scaled is None or len(masked) != 1 or merged is None or ints(transposed, "perm") != [0, 2, 1, 3]:
        return None
    products, scale = scaled
    factors = [node for node in products if node.op_type != "MatMul"]
    left, right = next(node for node in products if node.op_type == "MatMul").input
    if len(factors) == 2:
        left, right = (node.input[0] for node in factors)
    turns = ((left, [0, 2, 1, 3]), (right, [0, 2, 3, 1]), (mixed.input[1], [0, 2, 1, 3]))
    parts = [_heads(graph, name, turned) for name, turned in turns]
    if None in parts or len({(part[0].x, part[1]) for part in parts if part}) != 1:
        return None
    (query, shape, _), (key, _, _), (value, _, _) = (part for part in parts if part is not None)
    inner = [node for part in parts if part for node in part[2]]
    return Block(
        *(query, key, value, *shape, scale, merged.output[0]),
        nodes=[*inner, *products, added, softmax, mixed, transposed, merged],
        dtype=graph.tensors[query.weight].data_type,
    )


def _scaled(graph: GraphView, name: str) -> tuple[list[Any], float] | None:
    """A product of matrices, scaled as a whole or each by itself: its nodes, the product last, and the factor."""
    whole = _factor(graph, name)
    products = graph.chain(name if whole is None else whole[0].input[0], "MatMul")
    if products is None:
        return None
    if whole is not None:
        return [*products, whole[0]], whole[1]
    sides = [_factor(graph, side) for side in products[0].input]
    if sides[0] is None or sides[1] is None:
        return None
    return [sides[0][0], sides[1][0], *products], sides[0][1] * sides[1][1]


def _factor(graph: GraphView, name: str) -> tuple[Any, float] | None:
    """A value times or by a constant: the node, and the factor."""
    node = graph.made.get(name)
    if node is None or node.op_type not in ("Mul", "Div"):
        return None
    factor = graph.scalar(node.input[1])
    return (node, factor if node.op_type == "Mul" else 1 / factor) if factor else None


def _heads(graph: GraphView, name: str, turned: list[int]) -> tuple[Linear, tuple[int, int], list[Any]] | None:
    """Linear layer whose output is cut into heads: the layer, heads and their size, and the nodes that cut."""
    nodes = graph.chain(name, "Transpose", "Reshape")
    if nodes is None or ints(nodes[0], "perm") != turned:
        return None
    shape, linear = _last_two(graph, nodes[1].input[1]), linear_layer(graph, nodes[1].input[0])
    if linear is None or shape is None or min(shape) < 1:
        return None
    weight = graph.tensors[linear.weight]
    if weight.data_type not in (FLOAT, FLOAT16) or list(weight.dims)[1:] != [shape[0] * shape[1]]:
        return None
    return linear, shape, nodes[::-1]


def _last_two(graph: GraphView, name: str) -> tuple[int, int] | None:
    """The last two of a shape's four sizes, where they are constants."""
    shape, joined = graph.constant(name), graph.chain(name, "Concat")
    if shape is not None and shape.size == 4:
        return int(shape[2]), int(shape[3])
    if joined is None or len(joined[0].input) != 4:
        return None
    sizes = [graph.scalar(size) for size in joined[0].input[2:]]
    return None if sizes[0] is None or sizes[1] is None else (int(sizes[0]), int(sizes[1]))


def linear_layer(graph: GraphView, name: str) -> Linear | None:
    """x W + b, with W and b constants."""
    added = graph.made.get(name)
    if added is None or added.op_type != "Add":
        return None
    for product, bias in (added.input, added.input[::-1]):
        nodes = graph.chain(product, "MatMul")
        if nodes is not None and bias in graph.tensors and nodes[0].input[1] in graph.tensors:
            return Linear(nodes[0].input[0], nodes[0].input[1], bias, product, name)
    return None


def _is_mask(graph: GraphView, name: str) -> bool:
    """Whether a value is 0 where the attention mask is 1, and a large negative number where it is 0."""
    node = graph.behind(name)
    if node is None:
        return False
    if node.op_type == "Mul":
        values = [graph.scalar(one) for one in node.input]
        constant = next((value for value in values if value is not None), 0.0)
        masked = node.input[0] if values[0] is None else node.input[1]
        return _sign(graph, masked) * constant <= -LEAST_BIAS
    if node.op_type == "Where":
        condition, masked, otherwise = node.input
        factor = graph.scalar(masked)
        is_padding = _sign(graph, condition) == _sign(graph, otherwise) == 1
        return is_padding and factor is not None and factor <= -LEAST_BIAS
    return False


def _sign(graph: GraphView, name: str) -> int:
    """1 for 1 - attention mask, -1 for attention mask - 1, 0 for others."""
    node = graph.behind(name)
    if node is None or node.op_type != "Sub":
        return 0
    sides = [MASK if graph.origin(side) == MASK else graph.scalar(side) for side in node.input]
    return {(1.0, MASK): 1, (MASK, 1.0): -1}.get((sides[0], sides[1]), 0)
