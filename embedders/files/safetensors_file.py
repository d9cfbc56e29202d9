"""Reads safetensors files: an 8-byte little-endian header length, a JSON header, then the tensors' bytes.

The format: https://huggingface.co/docs/safetensors. Read here and not by the package ``safetensors``, whose NumPy side
has no bfloat16 and copies every tensor; this one maps the file.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embedders.errors import ModelFilesError

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
MAX_HEADER_BYTES = 100 << 20


def read_safetensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Map the tensors of a file by name; bfloat16 ones are widened to float32.

    Raises ModelFilesError for a file that is missing, cut short or not safetensors.
    """
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise ModelFilesError(f"{path} cannot be read: {error}") from None
    try:
        size = int.from_bytes(data[:8].tobytes(), "little")
        if not 2 <= size <= min(MAX_HEADER_BYTES, len(data) - 8):
            raise ValueError(f"its header would take {size} bytes")
        header = json.loads(data[8 : 8 + size].tobytes())
        header.pop("__metadata__", None)
        body = data[8 + size :]
        return {name: _tensor(body, **facts) for name, facts in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelFilesError(f"{path} is not a whole safetensors file: {error}") from None


def _tensor(body: npt.NDArray[np.uint8], dtype: str, shape: list[int], data_offsets: list[int]) -> npt.NDArray[Any]:
    start, stop = data_offsets
    kind = np.dtype(DTYPES[dtype])
    if not 0 <= start <= stop <= len(body) or stop - start != kind.itemsize * math.prod(shape):
        raise ValueError(f"a tensor of shape {shape} and type {dtype} is said to lie at {start} to {stop}")
    tensor = np.asarray(body[start:stop]).view(kind).reshape(shape)
    if not tensor.flags.aligned:
        # Half the speed of indexing hangs on it; writers pad the header so that this is rare.
        tensor = tensor.copy()
    return widen_bfloat16(tensor) if dtype == "BF16" else tensor


def widen_bfloat16(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """Turn bfloat16 bit patterns into float32: they are its upper half."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
