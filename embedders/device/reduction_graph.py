"""Small ONNX graphs that keep of a model's output what is wanted, where the model ran.

A graph selects from ``values``, the model's output, and finishes what it selected:

| select | values | further input | selected |
| --- | --- | --- | --- |
| mean | (rows, tokens, width) | mask (rows, tokens) bool | mean of the tokens in the mask, (rows, width) |
| rows | (rows, tokens, width) | positions (kept,) int64, in rows x tokens | token vectors, (kept, width) |
| whole | (rows, width) | | all |
| greatest | (rows, tokens, width) | mask (rows, tokens) bool | maximum over the tokens, at least 0, (rows, width) |

Then, each where it is wanted: float32, layer norm, the first ``cut`` numbers, unit length, ``dtype``.
`embedders.pooling` and `embedders.token_vectors` do the same with NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from embedders.device.onnx_writer import ELEMENTS, GraphWriter, Shape
from embedders.pooling import LAYER_NORM_EPSILON, SMALLEST_NORM

Select = Literal["mean", "rows", "whole", "greatest"]
VALUES, MASK, POSITIONS, KEPT = "values", "mask", "positions", "kept"


@dataclass(frozen=True)
class ReductionGraph:
    """What a graph selects and how it finishes it; see the table at the top of this module.

    ``width`` is the size of the values' last axis, ``element`` their type: "float32" or "float16".
    """

    select: Select
    width: int
    element: str = "float32"
    normalize: bool = False
    cut: int | None = None
    layer_norm: bool = False
    dtype: str = "float32"

    def to_bytes(self) -> bytes:
        """Write the graph as an ONNX model with the output ``kept``."""
        graph = GraphWriter()
        rank: Shape = ["rows", self.width] if self.select == "whole" else ["rows", "tokens", self.width]
        values = graph.input(VALUES, self.element, rank)
        kept = _finish(graph, self, _SELECT[self.select](graph, self, values))
        graph.op("Cast", kept, out=KEPT, to=ELEMENTS[self.dtype])
        graph.output(KEPT, self.dtype, ["kept", self.cut or self.width])
        return graph.to_bytes()


def _float32(graph: GraphWriter, spec: ReductionGraph, values: str) -> str:
    return values if spec.element == "float32" else graph.op("Cast", values, to=ELEMENTS["float32"])


def _whole(graph: GraphWriter, spec: ReductionGraph, values: str) -> str:
    return _float32(graph, spec, values)


def _rows(graph: GraphWriter, spec: ReductionGraph, values: str) -> str:
    positions = graph.input(POSITIONS, "int64", ["kept"])
    flat = graph.op("Reshape", values, graph.constant([-1, spec.width], np.int64))
    return _float32(graph, spec, graph.op("Gather", flat, positions, axis=0))


def _masked(graph: GraphWriter, spec: ReductionGraph, values: str) -> tuple[str, str, str]:
    """Values with zeros at padding, their sum over the tokens, and each row's number of tokens (rows, 1)."""
    mask = graph.input(MASK, "bool", ["rows", "tokens"])
    zero = graph.constant(0, np.float32)
    # 0 x NaN is NaN: some graphs leave NaN or infinity at padding.
    masked = graph.op("Where", graph.op("Unsqueeze", mask, _axes(graph, 2)), _float32(graph, spec, values), zero)
    weights = graph.op("Cast", mask, to=ELEMENTS["float32"])
    count = graph.op("ReduceSum", weights, _axes(graph, 1), keepdims=1)
    product = graph.op("MatMul", graph.op("Unsqueeze", weights, _axes(graph, 1)), masked)
    return masked, graph.op("Squeeze", product, _axes(graph, 1)), count


def _mean(graph: GraphWriter, spec: ReductionGraph, values: str) -> str:
    _, total, count = _masked(graph, spec, values)
    return graph.op("Div", total, graph.op("Max", count, graph.constant(1, np.float32)))


def _greatest(graph: GraphWriter, spec: ReductionGraph, values: str) -> str:
    masked, total, _ = _masked(graph, spec, values)
    greatest = graph.op("Relu", graph.op("ReduceMax", masked, axes=[1], keepdims=0))
    # Not every maximum keeps NaN, by which a broken row is noticed; a sum does.
    return graph.op("Where", graph.op("IsNaN", total), total, greatest)


_SELECT = {"mean": _mean, "rows": _rows, "whole": _whole, "greatest": _greatest}


def _finish(graph: GraphWriter, spec: ReductionGraph, kept: str) -> str:
    if spec.layer_norm:
        centred = graph.op("Sub", kept, graph.op("ReduceMean", kept, axes=[1], keepdims=1))
        variance = graph.op("ReduceMean", graph.op("Mul", centred, centred), axes=[1], keepdims=1)
        deviation = graph.op("Sqrt", graph.op("Add", variance, graph.constant(LAYER_NORM_EPSILON, np.float32)))
        kept = graph.op("Div", centred, deviation)
    if spec.cut is not None:
        kept = graph.op("Slice", kept, _axes(graph, 0), _axes(graph, spec.cut), _axes(graph, 1))
    if spec.normalize:
        squares = graph.op("ReduceSum", graph.op("Mul", kept, kept), _axes(graph, 1), keepdims=1)
        norms = graph.op("Max", graph.op("Sqrt", squares), graph.constant(SMALLEST_NORM, np.float32))
        kept = graph.op("Div", kept, norms)
    return kept


def _axes(graph: GraphWriter, *numbers: int) -> str:
    return graph.constant(list(numbers), np.int64)
