"""What an ONNX file says of its outputs, read without its weights.

To open a graph for the size of its vectors takes the time and memory of loading the model. The few fields that tell it
are read by the wire format of Protocol Buffers (https://protobuf.dev/programming-guides/encoding), which skips a field
without reading it, and by the numbers of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from embedders.wire_format import BYTES, VARINT, message_fields, read_varint

# Of ModelProto, GraphProto, ValueInfoProto, TypeProto, TypeProto.Tensor, TensorShapeProto, and its Dimension.
GRAPH, OUTPUT, NAME, TYPE, TENSOR, SHAPE, DIM, VALUE = 7, 12, 1, 2, 1, 2, 1, 1
INPUT = 11


def declared_width(path: Path, output: int | str) -> int | None:
    """Size of the last axis of an output, given by position or name, as the file declares it.

    None where it declares none, or cannot be read so; then the graph has to be asked.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _width(data, output)
    except (OSError, ValueError, IndexError):
        return None


def declared_inputs(path: Path) -> list[str]:
    """Names of the inputs that the file declares, old files' constants among them; none where it cannot be read."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return [
                b"".join(data[start:end] for start, end in _messages(data, value, NAME)).decode()
                for graph in _messages(data, (0, len(data)), GRAPH)
                for value in _messages(data, graph, INPUT)
            ]
    except (OSError, ValueError, IndexError):
        return []


def _width(data: mmap.mmap, output: int | str) -> int | None:
    widths: list[tuple[str, int | None]] = []
    for graph in _messages(data, (0, len(data)), GRAPH):
        for value in _messages(data, graph, OUTPUT):
            name = b"".join(data[start:end] for start, end in _messages(data, value, NAME)).decode()
            width = None
            for kind in _messages(data, value, TYPE):
                for tensor in _messages(data, kind, TENSOR):
                    for shape in _messages(data, tensor, SHAPE):
                        for axis in _messages(data, shape, DIM):
                            width = next(_numbers(data, axis, VALUE), None)
            widths.append((name, width))
    if isinstance(output, int):
        return widths[output][1] if output >= 0 else None
    return dict(widths).get(output)


def _messages(data: mmap.mmap, part: tuple[int, int], wanted: int) -> Iterator[tuple[int, int]]:
    """Where the fields of this number lie that are messages or text."""
    return (
        (start, end) for number, kind, start, end in message_fields(data, *part) if (number, kind) == (wanted, BYTES)
    )


def _numbers(data: mmap.mmap, part: tuple[int, int], wanted: int) -> Iterator[int]:
    fields = message_fields(data, *part)
    return (read_varint(data, start)[0] for number, kind, start, _ in fields if (number, kind) == (wanted, VARINT))
