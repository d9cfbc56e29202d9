"""Fused operators for a CPU: MultiHeadAttention, for batches that are long and have no padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from embedders.fusion.blocks import MASK, Block
from embedders.fusion.graph_view import PREFIX, GraphView
from embedders.onnx_messages import FLOAT, INT64, MICROSOFT, make_node, message

# Tokens from which on ``MultiHeadAttention`` without a mask is faster.
LONG = 64


def fuse_for_cpu(graph: GraphView, blocks: Sequence[Block]) -> set[str]:
    """Replace blocks; returns the names that the graph's nodes take then."""
    condition = f"{PREFIX}long_and_whole"
    new: dict[str, list[Any]] = {}
    for block in blocks:
        inputs = [block.query.output, block.key.output, block.value.output]
        fused = make_node(
            *("MultiHeadAttention", inputs, f"{PREFIX}{block.output}/fused"),
            domain=MICROSOFT,
            num_heads=block.heads,
            scale=float(block.scale),
        )
        branches = {"then_branch": _branch([fused]), "else_branch": _branch(_with_fixed_shapes(graph, block))}
        new[block.output] = [make_node("If", [condition], block.output, **branches)]
    return graph.replace(new, _long_and_whole(graph, condition))


def _with_fixed_shapes(graph: GraphView, block: Block) -> list[Any]:
    """A block's nodes, whose shapes are not computed of what they make themselves."""
    heads, size = block.heads, block.head_size
    split = graph.add_constant(f"split_{heads}_{size}", np.array([0, 0, heads, size], np.int64))
    merge = graph.add_constant(f"merge_{heads * size}", np.array([0, 0, heads * size], np.int64))
    nodes = []
    for node in block.nodes:
        nodes.append(message("Node"))
        nodes[-1].CopyFrom(node)
        if node.op_type == "Reshape":
            nodes[-1].input[1] = merge if node is block.nodes[-1] else split
            del nodes[-1].attribute[:]
    return nodes


def _branch(nodes: Sequence[Any]) -> Any:
    branch = message("Graph")
    branch.name = nodes[-1].output[0]
    branch.node.extend(nodes)
    output = branch.output.add()
    output.name = f"{PREFIX}branch/{branch.name}"
    output.type.tensor.elem_type = FLOAT
    branch.node[-1].output[0] = output.name
    return branch


def _long_and_whole(graph: GraphView, condition: str) -> list[Any]:
    """Nodes that tell whether a batch is LONG and has no padding."""
    one, least = (graph.add_constant(f"int64_{value}", np.array(value, np.int64)) for value in (1, LONG - 1))
    names = (f"{PREFIX}{name}" for name in ("mask", "shape", "length", "lowest", "whole", "long"))
    mask, shape, length, lowest, whole, long = names
    return [
        make_node("Cast", [MASK], mask, to=INT64),
        make_node("Shape", [mask], shape),
        make_node("Gather", [shape, one], length, axis=0),
        make_node("Greater", [length, least], long),
        make_node("ReduceMin", [mask], lowest, keepdims=0),
        make_node("Equal", [lowest, one], whole),
        make_node("And", [long, whole], condition),
    ]
