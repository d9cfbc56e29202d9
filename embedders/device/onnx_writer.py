"""Writes small ONNX graphs without the package ``onnx``, which users of the models need not have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from embedders.onnx_messages import DTYPES, make_node, make_tensor, message

OPSET, IR_VERSION = 17, 8
# Element types of TensorProto, by NumPy's name.
ELEMENTS = {np.dtype(kind).name: number for number, kind in DTYPES.items()}

Shape = Sequence[int | str]


class GraphWriter:
    """A graph that is being written: ``op`` and ``constant`` return the names of what they add."""

    def __init__(self) -> None:
        self._model = message("Model")
        self._model.ir_version, self._model.producer = IR_VERSION, "fleetembed"
        self._model.opset_import.add(domain="", version=OPSET)
        self._graph = self._model.graph
        self._graph.name = "fleetembed"
        self._constants: set[str] = set()

    def op(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """Add a node with one output; attributes are int or list of int."""
        name = out or f"{kind}_{len(self._graph.node)}"
        self._graph.node.append(make_node(kind, list(inputs), name, **attributes))
        return name

    def constant(self, value: Any, dtype: npt.DTypeLike) -> str:
        """Add a tensor, once for equal ones."""
        array = np.asarray(value, dtype=dtype)
        name = f"{array.dtype.name} {array.tolist()}"
        if name not in self._constants:
            self._constants.add(name)
            self._graph.initializer.append(make_tensor(name, array))
        return name

    def input(self, name: str, dtype: str, shape: Shape) -> str:
        """Declare an input."""
        return _declare(self._graph.input, name, dtype, shape)

    def output(self, name: str, dtype: str, shape: Shape) -> str:
        """Declare an output, which a node gives."""
        return _declare(self._graph.output, name, dtype, shape)

    def to_bytes(self) -> bytes:
        """The model, as its file has it."""
        data: bytes = self._model.SerializeToString()
        return data


def matrix_product(size: int) -> bytes:
    """Make a graph of one node that multiplies ``x``, (n, size), by itself into ``y``: whether a provider computes."""
    graph = GraphWriter()
    graph.input("x", "float32", ["n", size])
    graph.op("MatMul", "x", "x", out="y")
    graph.output("y", "float32", ["n", size])
    return graph.to_bytes()


def _declare(values: Any, name: str, dtype: str, shape: Shape) -> str:
    tensor = values.add(name=name).type.tensor
    tensor.elem_type = ELEMENTS[dtype]
    for size in shape:
        tensor.shape.dim.add(**{"value" if isinstance(size, int) else "param": size})
    return name
