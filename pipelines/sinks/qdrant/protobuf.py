"""Bytes of Protocol Buffers (protobuf.dev/programming-guides/encoding): headers of fields, and packed integers."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from embedders.wire_format import BYTES, varint

# The least number that has no room in so many bytes of a varint.
_VARINT_ENDS = (1 << 7, 1 << 14, 1 << 21, 1 << 28)
# Of a map's entry: in it, and its key and value.
ENTRY, KEY, VALUE = 1, 1, 2


def varints(numbers: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Write numbers in groups of seven bits, the lowest first; also tells where each begins, and where all end."""
    sizes = np.ones(len(numbers), np.uint8)
    for end in _VARINT_ENDS:
        sizes += numbers >= end
    groups = np.empty((len(numbers), len(_VARINT_ENDS) + 1), np.uint8)
    for step in range(groups.shape[1]):
        groups[:, step] = numbers >> np.uint32(7 * step) & 0x7F
        # All but the last group say that there is another one.
        groups[:, step] |= (sizes > step + 1).view(np.uint8) << 7
    written = groups[np.arange(groups.shape[1], dtype=np.uint8) < sizes[:, None]]
    return written, np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])


@lru_cache(4096)
def headers(path: tuple[int, ...], size: int) -> bytes:
    """Write the headers of fields with bytes, one in the other, of which the innermost has ``size``."""
    written = b""
    for number in reversed(path):
        written = varint(number << 3 | BYTES) + varint(size + len(written)) + written
    return written


@lru_cache(4096)
def entry_start(key: str, path: tuple[int, ...], size: int, field: int = ENTRY) -> bytes:
    """Write what is before ``size`` bytes that are, by the numbers of ``path``, in the value of an entry of a map.

    Without a path they are the value, a message.
    """
    name = key.encode()
    start = headers((KEY,), len(name)) + name + headers((VALUE, *path), size)
    return headers((field,), len(start) + size) + start
