"""float16 copies of models' ONNX files, made by ONNX Runtime's own tool and kept in the model cache.

Weights and activations are float16, a graph's inputs and outputs float32. Softmax and the normalization of layers sum
in float32 within their operators. A copy is kept only where it gives nearly what the float32 file gives.
"""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from embedders.derived_files import derived_file
from embedders.errors import DeviceError, ModelFilesError
from embedders.images.preprocessing import ImageTransform
from embedders.images.preprocessor_config import load_image_settings
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
# Half of what float16 ends at, since other texts may give more.
LARGEST = 32_752
# From here on it is a mask, not a number.
MASKED = 1e30
SIDE = 256
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
    return derived_file("float16", SCHEME, folder, model_file, files, make, check=_check, cache_dir=cache_dir)


def _check() -> None:
    if onnx is None:
        raise DeviceError('precision float16 converts the model by the package onnx: pip install "fleetembed[float16]"')


def _convert_and_compare(
    folder: Path, output: int | str, threads: int | None, source: Path, target: Path, external: bool
) -> None:
    logger.info("converting %s to float16", source)
    watched = target.with_name("watched.onnx")
    _convert(source, target, watched, external)
    try:
        cosines, largest = _compare(folder, watched, target, output, SessionSettings(threads=threads, cuda=False))
    except Exception as error:
        # ONNX Runtime's exceptions have no common base class.
        raise ModelFilesError(
            f"{source} cannot be compared in float16 with float32: {error}; leave precision out"
        ) from error
    for path in watched.parent.glob(f"{watched.name}*"):
        path.unlink()
    if largest > LARGEST:
        raise ModelFilesError(
            f"{source} cannot run in float16, which ends at 65,504: a value within the graph is {largest:,.0f}, and "
            f"{LARGEST:,} is the most; leave precision out"
        )
    # Not a number is not enough either.
    if not cosines.min() >= LEAST_COSINE:
        raise ModelFilesError(
            f"{source} in float16 gives other vectors than in float32: their cosine is {cosines.min():.4f} for one of "
            f"{len(cosines)} inputs, and {LEAST_COSINE} is the least; leave precision out"
        )


def _convert(source: Path, target: Path, watched: Path, external: bool) -> None:
    """Write the float16 copy, and to ``watched`` the graph with all that its nodes make as further outputs."""
    try:
        model = onnx.load(str(source))
        with _sys_path_left_alone():
            from onnxruntime.transformers.float16 import convert_float_to_float16
        given = {value.name for value in model.graph.output}
        names = dict.fromkeys(name for node in model.graph.node for name in node.output if name and name not in given)
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        _save(model, watched, external)
        del model.graph.output[len(given) :]
        # Shapes, by which the tool finds the types of what it must cast, are inferred in one message.
        large = model.ByteSize() > MOST_BYTES
        converted = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=large)
        _save(converted, target, external)
    except OSError:
        raise
    except Exception as error:
        # Neither onnx nor the tool says which exceptions it raises.
        raise ModelFilesError(f"{source} cannot be converted to float16: {error}; leave precision out") from error


def _save(model: Any, path: Path, external: bool) -> None:
    beside: dict[str, Any] = {"save_as_external_data": True, "location": f"{path.name}_data"} if external else {}
    # A copy, since the weights of the model that is saved beside it are no longer in memory.
    onnx.save(copy.deepcopy(model) if external else model, str(path), **beside)


@contextmanager
def _sys_path_left_alone() -> Iterator[None]:
    """Keep the tool's package from putting its folder, with modules of common names, on the path."""
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before


def _compare(
    folder: Path, watched: Path, target: Path, output: int | str, settings: SessionSettings
) -> tuple[npt.NDArray[np.float64], float]:
    """Cosine of what both files give for each of some texts or images, and the largest number within the first one."""
    from embedders.session import OnnxSession

    exact, rounded = OnnxSession(watched, settings), OnnxSession(target, settings)
    name, every = rounded.output_name(output), exact.output_names
    cosines, few, largest = [], [], 0.0
    for feed in _feeds(folder, rounded):
        made = dict(zip(every, exact.run_outputs(every, feed), strict=True))
        sizes = (np.abs(values) for values in made.values() if values.dtype == np.float32)
        # What stands for minus infinity behind a padded key is as good in float16.
        largest = max([largest, *(float(size.max(initial=0, where=size < MASKED)) for size in sizes)])
        pair = (made[name].ravel(), rounded.run(name, feed).ravel())
        cosines.append(_cosine(*pair))
        few += [pair] if len(pair[0]) < FEW else []
    if few:
        cosines = [_cosine(*(np.concatenate(side) for side in zip(*few, strict=True)))]
    return np.array(cosines), largest


def _cosine(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    one, other = one.astype(np.float64), other.astype(np.float64)
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    # Nothing but zeros is no difference, where both give it.
    return float(one @ other) / lengths if lengths else float((one == other).all())


def _feeds(folder: Path, session: Any) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
    """What the graph is fed with for each of TEXTS alone, or for images of one frequency each."""
    if "input_ids" not in session.inputs:
        yield from ({session.first_input: image} for image in _images(folder))
        return
    others: dict[str, list[npt.NDArray[Any]]] = {}
    if "task_id" in session.inputs:
        others["task_id"] = [np.array(0, np.int64)]
    if "pixel_values" in session.inputs:
        others["pixel_values"] = [*_images(folder)]
    tokenizer = load_tokenizer(folder, defaults=TOKENIZER_DEFAULTS)
    tokens = tokenizer.encode(list(TEXTS))
    for row in range(len(TEXTS)):
        padded = tokens.padded(np.array([row]))
        feed = {"input_ids": padded.ids, "attention_mask": padded.real.astype(np.int64)}
        feed["token_type_ids"] = np.zeros_like(padded.ids)
        yield {**feed, **{name: arrays[row % len(arrays)] for name, arrays in others.items()}}


def _images(folder: Path) -> list[npt.NDArray[np.float32]]:
    """Waves as images, each of its own frequencies, as the graph takes them: (1, channels, height, width)."""
    transform = ImageTransform(load_image_settings(folder))
    rows, columns = np.arange(SIDE)[:, None] / SIDE, np.arange(SIDE) / SIDE
    images = []
    for number in range(1, IMAGES + 1):
        phase = np.pi * number * (number * rows + columns)
        wave = np.stack([np.sin(phase), np.cos(phase), np.sin(2 * phase)], axis=-1)
        images.append(transform(Image.fromarray((127 * (1 + wave)).astype(np.uint8))).pixels[None])
    return images
