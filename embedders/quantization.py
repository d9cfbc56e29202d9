"""Quantized copies of models' ONNX files, made by ONNX Runtime's own tool and kept in the model cache.

Weights of matrix products and embedding tables become int8, with a scale a column of a matrix; activations are
quantized as the graph runs, with one scale a call ("dynamic"). Convolutions stay float32: in int8 they are slower.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnxruntime

from embedders.errors import DeviceError, ModelFilesError
from embedders.files.cache import Slot, Wanted, cache_root
from embedders.files.digest import file_digests
from embedders.files.download import DownloadError

try:
    import onnx
except ImportError:
    onnx = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

QUANTIZED_TYPES = ("MatMul", "Gather", "Attention")
# What these become, but for Gather: without one of them nothing would be faster.
INTEGER_TYPES = ("MatMulInteger", "QAttention")
# In the name of a copy: files that another scheme made are not taken.
SCHEME = "dynamic-per-channel-1"
COPY = "model.onnx"
LOCK_SECONDS = 1800.0


def quantized_file(folder: Path, model_file: str, files: Iterable[str], cache_dir: str | Path | None = None) -> Path:
    """Path of the int8 copy of a model's file, made first where the cache does not hold it.

    ``files`` are the model's, among them those of weights beside ``model_file``. A copy belongs to the contents of
    these and to the version of ONNX Runtime. Several processes may ask at once: one quantizes, the others wait. Raises
    DeviceError without the package onnx, ModelFilesError for a file that cannot be quantized or stored.
    """
    parts = [name for name in files if name.startswith(model_file)]
    slot = _slot(cache_root(cache_dir), model_file, file_digests(folder, parts))
    if not slot.gaps(Wanted((COPY,))):
        return slot.path / COPY
    if onnx is None:
        raise DeviceError('precision int8 quantizes the model by the package onnx: pip install "fleetembed[int8]"')
    try:
        with slot.filling(LOCK_SECONDS) as stage:
            if slot.gaps(Wanted((COPY,))):
                logger.info("quantizing %s", folder / model_file)
                _quantize(folder / model_file, stage / COPY, external=len(parts) > 1)
                slot.publish(stage, sorted(path.name for path in stage.iterdir()), SCHEME)
    except (OSError, DownloadError) as error:
        raise ModelFilesError(f"the quantized copy of {folder / model_file} cannot be stored: {error}") from error
    return slot.path / COPY


def _slot(root: Path, model_file: str, digests: dict[str, str]) -> Slot:
    facts = [SCHEME, onnxruntime.__version__, *(f"{name} {digest}" for name, digest in digests.items())]
    return Slot(root, f"int8--{Path(model_file).stem}--{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}")


def _quantize(source: Path, target: Path, *, external: bool) -> None:
    """Write the quantized copy; ``external`` puts its weights into a file beside it."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    try:
        model = onnx.load(str(source))
        _mark_as_prepared(model)
        with _root_logger_left_alone():
            quantize_dynamic(
                model,
                target,
                per_channel=True,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=list(QUANTIZED_TYPES),
                use_external_data_format=external,
            )
    except OSError:
        raise
    except Exception as error:
        # Neither onnx nor the tool says which exceptions it raises.
        raise ModelFilesError(f"{source} cannot be quantized: {error}; leave precision out") from error
    if not any(node.op_type in INTEGER_TYPES for node in onnx.load(str(target), load_external_data=False).graph.node):
        raise ModelFilesError(f"{source} has no matrix product with fixed weights to quantize; leave precision out")


def _mark_as_prepared(model: Any) -> None:
    """Keep the tool from warning that the graph was not optimized first; a session optimizes it when it is loaded."""
    properties = {item.key: item.value for item in model.metadata_props}
    onnx.helper.set_model_props(model, {**properties, "onnx.quant.pre_process": "onnxruntime.quant"})


@contextmanager
def _root_logger_left_alone() -> Iterator[None]:
    """Keep the tool, which logs to the root logger, from giving it a handler where it has none."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
