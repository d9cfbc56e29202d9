"""The NVIDIA driver's library, and CUDA's and cuDNN's as NVIDIA's packages bring them, for ONNX Runtime to find."""

from __future__ import annotations

import contextlib
import ctypes
import io
import sys
from functools import cache

import onnxruntime as ort


def cuda_driver() -> ctypes.CDLL | None:
    """The library of the NVIDIA driver, which is CUDA's driver API; None where the machine has none."""
    try:
        return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None


@cache
def load_cuda_libraries() -> tuple[str, ...]:
    """Load what ``pip install "fleetembed[gpu]"`` installed; the lines that ONNX Runtime has to say of what it lacks.

    The loader of the system does not look in Python's packages, and ONNX Runtime itself does so only when it is asked
    to. Libraries of the system, or that PyTorch has loaded, serve as well. Once a process.
    """
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        # Of ONNX Runtime 1.21 and later.
        ort.preload_dlls()
    return tuple(line.strip() for line in said.getvalue().splitlines() if line.strip())
