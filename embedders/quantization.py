"""Quantized copies of models' ONNX files, made by ONNX Runtime's own tool and kept in the model cache.

Weights of matrix products and embedding tables become int8, with a scale a column of a matrix; activations are
quantized as the graph runs, with one scale a call ("dynamic"). Convolutions stay float32: in int8 they are slower.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embedders.derived_files import derived_file
from embedders.errors import DeviceError, ModelFilesError

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


def quantized_file(folder: Path, model_file: str, files: Iterable[str], cache_dir: str | Path | None = None) -> Path:
    """Path of the int8 copy of a model's file, made first where the cache does not hold it; see ``derived_file``.

    Raises DeviceError without the package onnx, ModelFilesError for a file that cannot be quantized or stored.
    """
    return derived_file("int8", SCHEME, folder, model_file, files, _quantize, check=_check, cache_dir=cache_dir)


def _check() -> None:
    if onnx is None:
        raise DeviceError('precision int8 quantizes the model by the package onnx: pip install "fleetembed[int8]"')


def _quantize(source: Path, target: Path, external: bool) -> None:
    """Write the quantized copy; ``external`` puts its weights into a file beside it."""
    logger.info("quantizing %s", source)
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
