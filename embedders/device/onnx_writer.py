"""Writes small ONNX graphs without the package ``onnx``, which users of the models need not have.

By the wire format of Protocol Buffers (https://protobuf.dev/programming-guides/encoding), and the numbers of onnx.proto
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

OPSET, IR_VERSION = 17, 8
# Element types of TensorProto, by NumPy's name.
ELEMENTS = {"float32": 1, "int64": 7, "bool": 9, "float16": 10}
VARINT, BYTES = 0, 2
# Kinds of AttributeProto, and where it keeps a value of them.
INT, INTS = (2, 3), (7, 8)

Shape = Sequence[int | str]


@dataclass
class GraphWriter:
    """A graph that is being written: ``op`` and ``constant`` return the names of what they add."""

    nodes: list[bytes] = field(default_factory=list)
    tensors: dict[str, bytes] = field(default_factory=dict)
    inputs: list[bytes] = field(default_factory=list)
    outputs: list[bytes] = field(default_factory=list)

    def op(self, kind: str, *inputs: str, out: str | None = None, **attributes: int | Sequence[int]) -> str:
        """Add a node with one output."""
        name = out or f"{kind}_{len(self.nodes)}"
        node = [_text(1, one) for one in inputs] + [_text(2, name), _text(4, kind)]
        node += [_message(5, _attribute(key, value)) for key, value in attributes.items()]
        self.nodes.append(b"".join(node))
        return name

    def constant(self, value: Any, dtype: npt.DTypeLike) -> str:
        """Add a tensor, once for equal ones."""
        array = np.asarray(value, dtype=dtype)
        name = f"{array.dtype.name} {array.tolist()}"
        dims = b"".join(_number(1, size) for size in array.shape)
        kind = _number(2, ELEMENTS[array.dtype.name])
        self.tensors[name] = dims + kind + _text(8, name) + _message(9, array.tobytes())
        return name

    def input(self, name: str, dtype: str, shape: Shape) -> str:
        """Declare an input."""
        self.inputs.append(_value_info(name, dtype, shape))
        return name

    def output(self, name: str, dtype: str, shape: Shape) -> str:
        """Declare an output, which a node gives."""
        self.outputs.append(_value_info(name, dtype, shape))
        return name

    def to_bytes(self) -> bytes:
        """The model, as its file has it."""
        graph = [_message(1, node) for node in self.nodes] + [_text(2, "fleetembed")]
        graph += [_message(5, tensor) for tensor in self.tensors.values()]
        graph += [_message(11, value) for value in self.inputs] + [_message(12, value) for value in self.outputs]
        opset = _message(8, _text(1, "") + _number(2, OPSET))
        return _number(1, IR_VERSION) + _text(2, "fleetembed") + _message(7, b"".join(graph)) + opset


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    several = not isinstance(value, int)
    kind, number = INTS if several else INT
    numbers = value if isinstance(value, Sequence) else [value]
    return _text(1, name) + b"".join(_number(number, one) for one in numbers) + _number(20, kind)


def _value_info(name: str, dtype: str, shape: Shape) -> bytes:
    dims = b"".join(_message(1, _number(1, one) if isinstance(one, int) else _text(2, one)) for one in shape)
    tensor = _number(1, ELEMENTS[dtype]) + _message(2, dims)
    return _text(1, name) + _message(2, _message(1, tensor))


def _number(field_number: int, value: int) -> bytes:
    return _varint(field_number << 3 | VARINT) + _varint(value & (2**64 - 1))


def _text(field_number: int, value: str) -> bytes:
    return _message(field_number, value.encode())


def _message(field_number: int, value: bytes) -> bytes:
    return _varint(field_number << 3 | BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
