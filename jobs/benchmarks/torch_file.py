"""Reads the tensors of PyTorch checkpoints without PyTorch, and without running what a pickle may ask for.

A checkpoint is a pickle that refers to raw numbers: in one file after several pickles (until PyTorch 1.5), or beside it
in a ZIP archive. Unpickled are dictionaries, numbers, strings and tensors; any other name in the pickle is refused.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embedders.errors import ModelFilesError

DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
# What a damaged file may make pickle, zipfile and NumPy raise.
DAMAGE = (ValueError, TypeError, LookupError, EOFError, AttributeError, RecursionError, zipfile.BadZipFile)
# Pickles before the one of interest in an old file: a magic number, a version, and facts of the machine.
PREAMBLE = 3
ZIP_MAGIC = b"PK"


def read_torch_checkpoint(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Tensors of a checkpoint by name, those of a dictionary of dictionaries by names joined with dots.

    Raises ModelFilesError for a file that is missing, damaged, or holds anything but tensors, numbers and names.
    """
    try:
        content = path.read_bytes()
        state, storages = _read_archive(content) if content.startswith(ZIP_MAGIC) else _read_legacy(content)
        return dict(_tensors(state, storages))
    except OSError as error:
        raise ModelFilesError(f"{path} cannot be read: {error}") from None
    except pickle.UnpicklingError as error:
        raise ModelFilesError(f"{path} is not a checkpoint of tensors alone: {error}") from None
    except DAMAGE as error:
        raise ModelFilesError(f"{path} is not a whole PyTorch checkpoint: {error}") from None


@dataclass(frozen=True)
class _Kind:
    """Stands for a class of storages."""

    dtype: str


@dataclass(frozen=True)
class _Storage:
    """A run of numbers that is not read yet."""

    dtype: str
    key: str
    size: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _make_tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


class _Unpickler(pickle.Unpickler):
    """Makes placeholders of storages and tensors, and nothing else that is not built in to pickle."""

    ALLOWED: Mapping[tuple[str, str], Callable[..., Any]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _make_tensor,
    }

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in DTYPES:
            return _Kind(DTYPES[name])
        if (module, name) in self.ALLOWED:
            return self.ALLOWED[module, name]
        raise pickle.UnpicklingError(f"it wants {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, what, key, _, size = pid[:5]
        if kind != "storage" or not isinstance(what, _Kind):
            raise pickle.UnpicklingError(f"it refers to {kind!r} of {what!r}")
        return _Storage(what.dtype, str(key), int(size))


def _read_archive(content: bytes) -> tuple[Any, Callable[[_Storage], npt.NDArray[Any]]]:
    archive = zipfile.ZipFile(io.BytesIO(content))
    index = next((name for name in archive.namelist() if name.endswith("data.pkl")), None)
    if index is None:
        raise ValueError("the archive has no data.pkl")
    root = index.removesuffix("data.pkl")
    state = _Unpickler(io.BytesIO(archive.read(index))).load()

    def numbers(storage: _Storage) -> npt.NDArray[Any]:
        return np.frombuffer(archive.read(f"{root}data/{storage.key}"), storage.dtype, count=storage.size)

    return state, numbers


def _read_legacy(content: bytes) -> tuple[Any, Callable[[_Storage], npt.NDArray[Any]]]:
    file = io.BytesIO(content)
    for _ in range(PREAMBLE):
        _Unpickler(file).load()
    state = _Unpickler(file).load()
    keys = _Unpickler(file).load()
    sizes = {storage.key: storage for storage in _storages(state)}
    read: dict[str, npt.NDArray[Any]] = {}
    for key in keys:
        storage = sizes[key]
        count = int.from_bytes(file.read(8), "little")
        if count != storage.size:
            raise ValueError(f"storage {key} has {count} numbers and should have {storage.size}")
        read[key] = np.frombuffer(content, storage.dtype, count=count, offset=file.tell())
        file.seek(count * np.dtype(storage.dtype).itemsize, io.SEEK_CUR)
    return state, lambda storage: read[storage.key]


def _storages(state: Any) -> list[_Storage]:
    if isinstance(state, _Tensor):
        return [state.storage]
    return [found for value in state.values() for found in _storages(value)] if isinstance(state, dict) else []


def _tensors(
    state: Any, numbers: Callable[[_Storage], npt.NDArray[Any]], prefix: str = ""
) -> list[tuple[str, npt.NDArray[Any]]]:
    if isinstance(state, _Tensor):
        return [(prefix.removesuffix("."), _view(state, numbers(state.storage)))]
    if not isinstance(state, dict):
        return []
    return [found for name, value in state.items() for found in _tensors(value, numbers, f"{prefix}{name}.")]


def _view(tensor: _Tensor, numbers: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A copy of a tensor's numbers; raises ValueError where it reaches beyond its storage."""
    if any(length < 0 for length in tensor.shape) or any(stride < 0 for stride in tensor.strides):
        raise ValueError(f"a tensor has shape {tensor.shape} and strides {tensor.strides}")
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((length - 1) * stride for length, stride in steps)
    if tensor.offset < 0 or math.prod(tensor.shape) > len(numbers) or (all(tensor.shape) and last >= len(numbers)):
        raise ValueError(f"a tensor of shape {tensor.shape} at {tensor.offset} is beyond its {len(numbers)} numbers")
    strides = [stride * numbers.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False)
    return np.array(view)
