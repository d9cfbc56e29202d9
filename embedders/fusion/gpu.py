"""Fused operators for a GPU: Attention, SkipLayerNormalization, BiasGelu."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from embedders.fusion.blocks import MASK, Block, linear_layer
from embedders.fusion.graph_view import PREFIX, GraphView, ints
from embedders.onnx_messages import FLOAT16, INT32, MICROSOFT, make_node

# What is added to the scores of padding; float32's least.
MASKED = float(np.finfo(np.float32).min)


def fuse_for_gpu(graph: GraphView, blocks: Sequence[Block]) -> set[str]:
    """Replace blocks, and what stands between them; returns the names that the graph's nodes take then."""
    first = [make_node("Cast", [MASK], f"{PREFIX}mask", to=INT32)]
    if any(map(_takes_starts, blocks)):
        first += _lengths_and_starts(graph)
    new: dict[str, list[Any]] = {}
    for block in blocks:
        parts = (block.query, block.key, block.value)
        weight, bias = (f"{PREFIX}{block.output}/{what}" for what in ("weight", "bias"))
        mask = f"{PREFIX}lengths_and_starts" if _takes_starts(block) else f"{PREFIX}mask"
        new[block.output] = [
            # Put together when the graph is loaded, since they are constants.
            make_node("Concat", [part.weight for part in parts], weight, axis=1),
            make_node("Concat", [part.bias for part in parts], bias, axis=0),
            make_node(
                *("Attention", [block.query.x, weight, bias, mask], block.output),
                domain=MICROSOFT,
                num_heads=block.heads,
                scale=float(block.scale),
                mask_filter_value=MASKED,
            ),
        ]
    new |= _skip_normalizations(graph) | _gelus(graph)
    return graph.replace(new, first)


def _takes_starts(block: Block) -> bool:
    """Whether a GPU computes a block without a matrix of scores, in the kernel that takes lengths and starts.

    In float32 ONNX Runtime does so from 256 tokens on alone, and what it takes below would misread them.
    """
    return block.dtype == FLOAT16 and block.head_size % 8 == 0


def _lengths_and_starts(graph: GraphView) -> list[Any]:
    """Nodes that make, of a mask of B rows of L tokens, what the GPU's memory-efficient kernel takes, int32 (3 B + 2,).

    Real tokens of each row; where each row's queries start, 0, L, 2 L, .. B L; and likewise its keys, from the first
    that is real.
    """
    mask = f"{PREFIX}mask"
    one, nothing = (graph.add_constant(f"int32_{value}", np.array(value, np.int32)) for value in (1, 0))
    zero = graph.add_constant("int32_zeros", np.array([0], np.int32))
    first, second = (graph.add_constant(f"axis_{axis}", np.array(axis, np.int64)) for axis in (0, 1))
    axis = graph.add_constant("axes", np.array([1], np.int64))
    counts = (f"{PREFIX}{name}" for name in ("lengths", "so_far", "before", "leading", "firsts"))
    lengths, so_far, before, leading, firsts = counts
    sizes = (f"{PREFIX}{name}" for name in ("zeros", "ones", "widths", "ends", "rows", "starts"))
    zeros, ones, widths, ends, rows, starts = sizes
    return [
        make_node("ReduceSum", [mask, axis], lengths, keepdims=0),
        # Padding before the first real token of each row.
        make_node("CumSum", [mask, second], so_far),
        make_node("Equal", [so_far, nothing], before),
        make_node("Cast", [before], leading, to=INT32),
        make_node("ReduceSum", [leading, axis], firsts, keepdims=0),
        make_node("Concat", [firsts, zero], f"{PREFIX}offsets", axis=0),
        # Where each row starts, and the last one ends.
        make_node("Sub", [mask, mask], zeros),
        make_node("Add", [zeros, one], ones),
        make_node("ReduceSum", [ones, axis], widths, keepdims=0),
        make_node("CumSum", [widths, first], ends),
        make_node("Concat", [zero, ends], rows, axis=0),
        make_node("Add", [rows, f"{PREFIX}offsets"], starts),
        make_node("Concat", [lengths, rows, starts], f"{PREFIX}lengths_and_starts", axis=0),
    ]


def _skip_normalizations(graph: GraphView) -> dict[str, list[Any]]:
    """LayerNormalization of x W + b + y as one operator."""
    new: dict[str, list[Any]] = {}
    for node in graph.graph.node:
        summed = graph.made.get(node.input[0]) if node.op_type == "LayerNormalization" and node.input else None
        if summed is None or summed.op_type != "Add" or len(node.input) != 3 or ints(node, "axis") not in ([], [-1]):
            continue
        for inner, skip in (summed.input, summed.input[::-1]):
            linear = linear_layer(graph, inner)
            if linear is not None and skip not in graph.tensors:
                inputs = [linear.product, skip, node.input[1], node.input[2], linear.bias]
                epsilon = next((float(one.f) for one in node.attribute if one.name == "epsilon"), 1e-5)
                made = make_node("SkipLayerNormalization", inputs, node.output[0], domain=MICROSOFT, epsilon=epsilon)
                new[node.output[0]] = [made]
                break
    return new


def _gelus(graph: GraphView) -> dict[str, list[Any]]:
    """x (1 + erf(x / sqrt 2)) / 2 of x = y W + b as one operator; the optimizer does not know float16's constants."""
    new: dict[str, list[Any]] = {}
    for erf in graph.graph.node:
        divided = graph.chain(erf.input[0], "Div") if erf.op_type == "Erf" else None
        if divided is None or not graph.is_near(divided[0].input[1], math.sqrt(2)):
            continue
        linear, last, others = linear_layer(graph, divided[0].input[0]), erf, []
        for kind in ("Add", "Mul", "Mul"):
            user = graph.only_user(last.output[0], kind)
            if user is None:
                break
            others.append(next((name for name in user.input if name != last.output[0]), ""))
            last = user
        if linear is None or len(others) < 3 or others[1] != linear.output:
            continue
        if graph.is_near(others[0], 1) and graph.is_near(others[2], 0.5):
            made = make_node("BiasGelu", [linear.product, linear.bias], last.output[0], domain=MICROSOFT)
            new[last.output[0]] = [made]
    return new
