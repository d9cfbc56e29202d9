"""float16 copies of models' ONNX files, made by ONNX Runtime's own tool and kept in the model cache.

Weights and activations are float16, a graph's inputs and outputs float32. Softmax and the normalization of layers sum
in float32 within their operators. A copy is kept only where it gives nearly what the float32 file gives.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embedders.derived_files import derived_file
from embedders.errors import DeviceError, ModelFilesError
from embedders.session_settings import SessionSettings
from embedders.tokenization import load_tokenizer

try:
    import onnx
except ImportError:
    onnx = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

# In the name of a copy: files that another scheme made are not taken.
SCHEME = "float16-1"
# Of what a copy gives to what the file gives, for each text or image.
LEAST_COSINE = 0.9995
# Outputs with fewer numbers a text, such as a reranker's scores, are compared over all texts at once.
FEW = 8
# Protocol Buffers end at 2 GiB.
MOST_BYTES = 2_000_000_000
# For graphs that leave the sizes of images open.
SIDE = 224
IMAGES = 8
# For folders without tokenizer_config.json.
TOKENIZER_DEFAULTS = {"pad_token": "[PAD]", "model_max_length": 128}
TEXTS = (
    "An embedding is a point in a space in which texts of like meaning are near to each other.",
    "read a file line by line",
    "What causes the tides?",
    "The tides are caused by the gravity of the moon and, to a lesser degree, of the sun, which pull at the water on "
    "the near side of the earth more strongly than at the earth itself, and at the earth more strongly than at the "
    "water on its far side. Two bulges are the result, under which the earth turns once a day.",
    "def mean(values): return sum(values) / len(values)",
    "SELECT name, price FROM products WHERE price < 10.50 ORDER BY price DESC;",
    "Interest rates rose by 0.25 percentage points on 3 May 2023, the tenth increase in a row.",
    "BRCA1 mutations increase the risk of breast and ovarian cancer.",
    "Der Zug nach München fährt heute wegen Bauarbeiten von Gleis 12 ab.",
    "La lluvia en Sevilla es una maravilla.",
    "Les chats retombent presque toujours sur leurs pattes.",
    "東京は日本の首都です。",
    "Москва — столица России.",
    "👍 great product, would buy again!!!",
    "a",
    "https://example.org/docs/index.html?page=2#top",
)


def float16_file(
    folder: Path,
    model_file: str,
    files: Iterable[str],
    output: int | str,
    *,
    threads: int | None = None,
    cache_dir: str | Path | None = None,
) -> Path:
    """Path of the float16 copy of a model's file, made first where the cache does not hold it; see ``derived_file``.

    ``output`` of the graph, by position or name, is compared. Raises DeviceError without the package onnx,
    ModelFilesError for a file that cannot be converted or stored, or whose copy gives other vectors.
    """
    make = partial(_convert_and_compare, folder, output, threads)
    if onnx is None:
        missing = DeviceError(
            'precision float16 converts the model by the package onnx: pip install "fleetembed[float16]"'
        )
        return derived_file("float16", SCHEME, folder, model_file, files, missing, cache_dir=cache_dir)
    return derived_file("float16", SCHEME, folder, model_file, files, make, cache_dir=cache_dir)


def _convert_and_compare(
    folder: Path, output: int | str, threads: int | None, source: Path, target: Path, external: bool
) -> None:
    logger.info("converting %s to float16", source)
    _convert(source, target, external)
    try:
        cosines = _cosines(folder, source, target, output, SessionSettings(threads=threads, cuda=False))
    except Exception as error:
        # ONNX Runtime's exceptions have no common base class.
        raise ModelFilesError(
            f"{source} cannot be compared in float16 with float32: {error}; leave precision out"
        ) from error
    # Not a number is not enough either.
    if not cosines.min() >= LEAST_COSINE:
        raise ModelFilesError(
            f"{source} in float16 gives other vectors than in float32: their cosine is {cosines.min():.4f} for one of "
            f"{len(cosines)} inputs, and {LEAST_COSINE} is the least; leave precision out"
        )


def _convert(source: Path, target: Path, external: bool) -> None:
    try:
        model = onnx.load(str(source))
        with _sys_path_left_alone():
            from onnxruntime.transformers.float16 import convert_float_to_float16
        # Shapes, by which the tool finds the types of what it must cast, are inferred in one message.
        large = model.ByteSize() > MOST_BYTES
        converted = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=large)
        beside = {"save_as_external_data": True, "location": f"{target.name}_data"} if external else {}
        onnx.save(converted, str(target), **beside)
    except OSError:
        raise
    except Exception as error:
        # Neither onnx nor the tool says which exceptions it raises.
        raise ModelFilesError(f"{source} cannot be converted to float16: {error}; leave precision out") from error


@contextmanager
def _sys_path_left_alone() -> Iterator[None]:
    """Keep the tool's package from putting its folder, with modules of common names, on the path."""
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before


def _cosines(
    folder: Path, source: Path, target: Path, output: int | str, settings: SessionSettings
) -> npt.NDArray[np.float64]:
    """Cosine of what both files give for each of some texts or images."""
    from embedders.session import OnnxSession

    exact = OnnxSession(source, settings)
    feeds = list(_feeds(folder, exact))
    name = exact.output_name(output)
    expected = [exact.run(name, feed).ravel().astype(np.float64) for feed in feeds]
    del exact
    rounded = OnnxSession(target, settings)
    given = [rounded.run(name, feed).ravel().astype(np.float64) for feed in feeds]
    if max(map(len, expected)) < FEW:
        expected, given = [np.concatenate(expected)], [np.concatenate(given)]
    return np.array([_cosine(*pair) for pair in zip(expected, given, strict=True)])


def _cosine(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    # Nothing but zeros is no difference, where both give it.
    return float(one @ other) / lengths if lengths else float((one == other).all())


def _feeds(folder: Path, session: Any) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
    """What the graph is fed with for each of TEXTS alone, or for images of one frequency each."""
    if "input_ids" not in session.inputs:
        yield from ({session.first_input: image} for image in _images(session))
        return
    others = {"task_id": [np.array(0, np.int64)]} if "task_id" in session.inputs else {}
    if "pixel_values" in session.inputs:
        others["pixel_values"] = _images(session)
    tokenizer = load_tokenizer(folder, defaults=TOKENIZER_DEFAULTS)
    tokens = tokenizer.encode(list(TEXTS))
    for row in range(len(TEXTS)):
        padded = tokens.padded(np.array([row]))
        feed = {"input_ids": padded.ids, "attention_mask": padded.real.astype(np.int64)}
        feed["token_type_ids"] = np.zeros_like(padded.ids)
        yield {**feed, **{name: arrays[row % len(arrays)] for name, arrays in others.items()}}


def _images(session: Any) -> list[npt.NDArray[np.float32]]:
    """Waves as images, each of its own frequencies, in the shape of the graph's pixels."""
    name = "pixel_values" if "pixel_values" in session.inputs else session.first_input
    shape = [size if isinstance(size, int) else None for size in session.input_shape(name)]
    height, width = (size or SIDE for size in shape[-2:])
    leading = [size or 1 for size in shape[1:-2]]
    rows, columns = np.arange(height)[:, None] / height, np.arange(width) / width
    waves = [np.sin(np.pi * number * (number * rows + columns)) for number in range(1, IMAGES + 1)]
    return [np.broadcast_to(wave, (1, *leading, height, width)).astype(np.float32) for wave in waves]
