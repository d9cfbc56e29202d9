"""The wire format of Protocol Buffers (https://protobuf.dev/programming-guides/encoding): fields and numbers."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def message_fields(data: mmap.mmap | bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, start and end of each field of a message; ValueError where it is none."""
    while at < end:
        tag, at = read_varint(data, at)
        kind = tag & 7
        if kind == VARINT:
            start, at = at, read_varint(data, at)[1]
        elif kind == BYTES:
            size, start = read_varint(data, at)
            at = start + size
        elif kind in (FIXED64, FIXED32):
            start, at = at, at + (8 if kind == FIXED64 else 4)
        else:
            raise ValueError(f"wire type {kind}")
        if at > end:
            raise ValueError("a field is cut")
        yield tag >> 3, kind, start, at


def read_varint(data: mmap.mmap | bytes, at: int) -> tuple[int, int]:
    """Read a number; also tells where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def varint(number: int) -> bytes:
    """Write a number of 0 or more in groups of seven bits, the lowest first."""
    if number < 128:
        return bytes((number,))
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    return bytes([*written, number])
