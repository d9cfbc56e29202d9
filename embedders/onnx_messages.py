"""ONNX files as messages of Protocol Buffers, read and written without the package onnx.

Only the fields that are worked with are declared, by the names and numbers of onnx.proto
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). A message keeps what it does not know, so that a file that is
read, changed and written loses nothing. The library protobuf is what ONNX Runtime itself depends on.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Container, Iterator
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from embedders.graph_outputs import GRAPH
from embedders.wire_format import BYTES, message_fields, varint

# Number, type and label of each field: * is repeated, and a type in capitals another message.
FIELDS: dict[str, dict[str, tuple[int, str]]] = {
    "Model": {
        "ir_version": (1, "int64"),
        "producer": (2, "string"),
        "graph": (7, "Graph"),
        "opset_import": (8, "*Opset"),
    },
    "Opset": {"domain": (1, "string"), "version": (2, "int64")},
    "Graph": {
        "node": (1, "*Node"),
        "name": (2, "string"),
        "initializer": (5, "*Tensor"),
        "input": (11, "*Value"),
        "output": (12, "*Value"),
    },
    "Node": {
        "input": (1, "*string"),
        "output": (2, "*string"),
        "name": (3, "string"),
        "op_type": (4, "string"),
        "attribute": (5, "*Attribute"),
        "domain": (7, "string"),
    },
    "Attribute": {
        "name": (1, "string"),
        "f": (2, "float"),
        "i": (3, "int64"),
        "t": (5, "Tensor"),
        "g": (6, "Graph"),
        "ints": (8, "*int64"),
        "type": (20, "int32"),
    },
    "Tensor": {
        "dims": (1, "*int64"),
        "data_type": (2, "int32"),
        "float_data": (4, "*float"),
        "int32_data": (5, "*int32"),
        "int64_data": (7, "*int64"),
        "name": (8, "string"),
        "raw_data": (9, "bytes"),
        "data_location": (14, "int32"),
    },
    "Value": {"name": (1, "string"), "type": (2, "Type")},
    "Type": {"tensor": (1, "TensorType")},
    "TensorType": {"elem_type": (1, "int32"), "shape": (2, "Shape")},
    "Shape": {"dim": (1, "*Dimension")},
    "Dimension": {"value": (1, "int64"), "param": (2, "string")},
}
PACKAGE = "fleetembed.onnx"
INITIALIZER = 5
# Bytes up to which a tensor's numbers are read: scalars and shapes, not weights.
MOST_PARSED = 1024
FLOAT, INT32, INT64, BOOL, FLOAT16 = 1, 6, 7, 9, 10
DTYPES: dict[int, type[np.generic]] = {
    FLOAT: np.float32,
    INT32: np.int32,
    INT64: np.int64,
    BOOL: np.bool_,
    FLOAT16: np.float16,
}
MICROSOFT = "com.microsoft"
# AttributeProto.AttributeType.
_FLOAT_ATTRIBUTE, _INT_ATTRIBUTE, _GRAPH_ATTRIBUTE, _INTS_ATTRIBUTE = 1, 2, 5, 7


def message(name: str) -> Any:
    """Make an empty message of one of FIELDS."""
    return _classes()[name]()


class OnnxFile:
    """A model as a message that can be changed, without the bytes of its weights, which are taken over as they are.

    ``model`` has no initializers but those that are added to it. ``tensors`` are the file's, by their names; large ones
    without their numbers. Raises ValueError where the bytes are no model.
    """

    def __init__(self, data: mmap.mmap | bytes) -> None:
        self._data = data
        self._initializers: list[tuple[str, int, int]] = []
        self.tensors: dict[str, Any] = {}
        rest, graph = [], b""
        try:
            for number, kind, start, end in message_fields(data, 0, len(data)):
                if number == GRAPH and kind == BYTES:
                    graph = b"".join(self._without_initializers(start, end))
                else:
                    rest.append(self._field(number, kind, start, end))
            self.model = _parsed("Model", b"".join(rest))
            self.model.graph.CopyFrom(_parsed("Graph", graph))
        except IndexError:
            raise ValueError("a field is cut") from None

    def _without_initializers(self, start: int, end: int) -> Iterator[bytes]:
        for number, kind, *part in message_fields(self._data, start, end):
            if number == INITIALIZER and kind == BYTES:
                tensor = _parsed("Tensor", b"".join(self._small_fields(*part)))
                self.tensors[tensor.name] = tensor
                self._initializers.append((tensor.name, *part))
            else:
                yield self._field(number, kind, *part)

    def _small_fields(self, start: int, end: int) -> Iterator[bytes]:
        for number, kind, *part in message_fields(self._data, start, end):
            if kind != BYTES or part[1] - part[0] <= MOST_PARSED:
                yield self._field(number, kind, *part)

    def _field(self, number: int, kind: int, start: int, end: int) -> bytes:
        """A field with its tag, as it stands in a message."""
        length = varint(end - start) if kind == BYTES else b""
        return varint(number << 3 | kind) + length + self._data[start:end]

    def serialize(self, needed: Container[str]) -> bytes:
        """Write the model with those of its initializers that have one of the names ``needed``."""
        weights = [
            (varint(INITIALIZER << 3 | BYTES) + varint(end - start), start, end)
            for name, start, end in self._initializers
            if name in needed
        ]
        graph = self.model.graph.SerializeToString()
        size = len(graph) + sum(len(head) + end - start for head, start, end in weights)
        rest = message("Model")
        rest.CopyFrom(self.model)
        rest.ClearField("graph")
        parts = [rest.SerializeToString(), varint(GRAPH << 3 | BYTES), varint(size), graph]
        whole = memoryview(self._data)
        try:
            return b"".join([*parts, *(piece for head, start, end in weights for piece in (head, whole[start:end]))])
        finally:
            whole.release()


def _parsed(name: str, data: bytes) -> Any:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    made = message(name)
    try:
        made.ParseFromString(data)
    except DecodeError as error:
        raise ValueError(str(error)) from error
    return made


def make_node(kind: str, inputs: list[str], output: str, *, domain: str = "", **attributes: Any) -> Any:
    """Make a node with one output, which is also its name; attributes are int, float, list of int, or Graph."""
    node = message("Node")
    node.op_type, node.domain, node.name = kind, domain, output
    node.input.extend(inputs)
    node.output.append(output)
    for name, value in attributes.items():
        attribute = node.attribute.add()
        attribute.name = name
        if isinstance(value, float):
            attribute.type, attribute.f = _FLOAT_ATTRIBUTE, value
        elif isinstance(value, int):
            attribute.type, attribute.i = _INT_ATTRIBUTE, value
        elif isinstance(value, list):
            attribute.type = _INTS_ATTRIBUTE
            attribute.ints.extend(value)
        else:
            attribute.type = _GRAPH_ATTRIBUTE
            attribute.g.CopyFrom(value)
    return node


def make_tensor(name: str, values: npt.NDArray[Any]) -> Any:
    """Make a constant of a graph."""
    tensor = message("Tensor")
    tensor.name, tensor.raw_data = name, np.ascontiguousarray(values).tobytes()
    tensor.data_type = next(number for number, kind in DTYPES.items() if kind == values.dtype)
    tensor.dims.extend(values.shape)
    return tensor


def array_of(tensor: Any) -> npt.NDArray[Any] | None:
    """Numbers of a constant, None where they were not read or are of a type that is not in DTYPES."""
    kind = DTYPES.get(tensor.data_type)
    if kind is None:
        return None
    if tensor.raw_data:
        values = np.frombuffer(tensor.raw_data, kind)
    elif kind == np.float16:
        values = np.array(tensor.int32_data, np.uint16).view(np.float16)
    else:
        values = np.array(tensor.float_data or tensor.int64_data or tensor.int32_data, kind)
    return values.reshape(tensor.dims) if values.size == math.prod(tensor.dims) else None


@cache
def _classes() -> dict[str, Any]:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="fleetembed_onnx.proto", package=PACKAGE, syntax="proto2")
    for name, fields in FIELDS.items():
        kind = file.message_type.add(name=name)
        for field, (number, type_name) in fields.items():
            made = kind.field.add(name=field, number=number)
            repeated, type_name = type_name.startswith("*"), type_name.lstrip("*")
            made.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if type_name in FIELDS:
                made.type, made.type_name = kinds.TYPE_MESSAGE, f".{PACKAGE}.{type_name}"
            else:
                made.type = getattr(kinds, f"TYPE_{type_name.upper()}")
            if name == "Tensor" and repeated and field != "dims":
                made.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in FIELDS}
