"""Images and model folders for tests of image models: photos, generated images, synthetic graphs of seeded numbers."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.model_fixtures import write_tokenizer

MEAN, DEVIATION = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
HALF = [0.5, 0.5, 0.5]
CLIP_LEVELS = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
CLIP_LEVELS |= {"image_mean": MEAN, "image_std": DEVIATION}
HALF_LEVELS = {**CLIP_LEVELS, "image_mean": HALF, "image_std": HALF}


def clip_config(side: int = 224, crop: Any = None, **more: Any) -> dict[str, Any]:
    size = {"do_resize": True, "size": {"shortest_edge": side}, "resample": 3}
    window = {"do_center_crop": True, "crop_size": crop or {"height": side, "width": side}}
    return {"image_processor_type": "CLIPImageProcessor", **size, **window, **CLIP_LEVELS, **more}


def siglip_config(height: int = 224, width: int = 224, **more: Any) -> dict[str, Any]:
    size = {"do_resize": True, "size": {"height": height, "width": width}, "resample": 2}
    return {"image_processor_type": "SiglipImageProcessor", **size, **HALF_LEVELS, **more}


def convnext_config(side: int = 224, **more: Any) -> dict[str, Any]:
    size = {"do_resize": True, "size": {"shortest_edge": side}, "crop_pct": 0.875, "resample": 3}
    return {"image_processor_type": "ConvNextFeatureExtractor", **size, **CLIP_LEVELS, **more}


def jina_clip_config(side: int = 224, **more: Any) -> dict[str, Any]:
    size = {"size": side, "resize_mode": "shortest", "interpolation": "bicubic", "fill_color": 0}
    return {"image_processor_type": "JinaCLIPImageProcessor", **size, "mean": MEAN, "std": DEVIATION, **more}


def idefics3_config(longest: int = 2048, tile: int = 512, **more: Any) -> dict[str, Any]:
    size = {"do_resize": True, "size": {"longest_edge": longest}, "resample": 1}
    tiles = {"do_image_splitting": True, "max_image_size": {"longest_edge": tile}}
    return {"image_processor_type": "Idefics3ImageProcessor", **size, **tiles, **HALF_LEVELS, **more}


def random_image(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth gradient with noise: edges and texture for every filter."""
    random = np.random.default_rng((seed, width, height))
    across, down = np.linspace(0, 1, width), np.linspace(0, 1, height)[:, None]
    planes = [np.sin(9 * across + phase) * np.cos(7 * down - phase) for phase in random.uniform(0, 6, size=3)]
    levels = 127 + 90 * np.stack(planes, axis=-1) + random.normal(0, 25, (height, width, 3))
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """An image as the content of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def photos(shared_data: Path) -> list[Path]:
    """Photos without transparency and EXIF orientation, which fastembed reads as we do."""
    files = sorted((shared_data / "images-photos").iterdir())
    found = [path for path in files if path.suffix in (".jpg", ".jpeg", ".png")]
    kept = []
    for path in found:
        with Image.open(path) as image:
            if not image.has_transparency_data and image.mode in ("RGB", "L"):
                kept.append(path)
    return kept


def write_image_config(folder: Path, config: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "preprocessor_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


class Graph:
    """An ONNX graph being written; its numbers come from one seed."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        output = name or f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.array(value, dtype=dtype), name))
        return name

    def weights(self, *shape: int) -> str:
        return self.constant(self._random.normal(0, 1 / np.sqrt(shape[0]), shape), np.float32)

    def save(self, path: Path, inputs: dict[str, tuple[Any, list[Any]]], outputs: dict[str, list[Any]]) -> None:
        import onnx
        from onnx import TensorProto, helper

        given = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
        made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
        graph = helper.make_graph(self._nodes, "synthetic", given, made, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, str(path))


def patches(graph: Graph, pixels: str, channels: int, patch: int) -> str:
    """(images, 3, height, width) -> (images, channels, places): each patch by random numbers, bent."""
    kernel = graph.constant(graph._random.normal(0, 0.1, (channels, 3, patch, patch)), np.float32)
    bent = graph.op("Tanh", graph.op("Conv", pixels, kernel, strides=[patch, patch]))
    return graph.op("Reshape", bent, graph.constant([0, channels, -1]))


def write_synthetic_image_model(
    folder: Path,
    config: dict[str, Any],
    kind: str = "vector",
    *,
    model_file: str = "model.onnx",
    dim: int = 24,
    side: int = 224,
    batch: str | int = "batch",
) -> Path:
    """Write a model of images of ``side`` whose vectors hang on every patch and its place, of random numbers.

    Outputs by kind: vector (batch, dim); map (batch, dim, 1, 1); tokens (batch, 1 + places, dim), a pooled one first;
    pooler both tokens and pooler_output (batch, dim), in this order.
    """
    from onnx import TensorProto

    graph, patch = Graph(6), max(1, side // 7)
    places = (side // patch) ** 2
    seen = patches(graph, "pixel_values", 16, patch)
    mixed = graph.op(
        "MatMul", graph.op("Tanh", graph.op("Mul", seen, graph.weights(1, 16, places))), graph.weights(places, 3)
    )
    pooled = graph.op("MatMul", graph.op("Reshape", mixed, graph.constant([0, 48])), graph.weights(48, dim))
    shapes: dict[str, list[Any]] = {}
    if kind == "vector":
        shapes[graph.op("Identity", pooled, name="image_embeds")] = [batch, dim]
    elif kind == "map":
        shapes[graph.op("Reshape", pooled, graph.constant([0, dim, 1, 1]), name="features")] = [batch, dim, 1, 1]
    else:
        tokens = graph.op("MatMul", graph.op("Transpose", seen, perm=[0, 2, 1]), graph.weights(16, dim))
        first = graph.op("Unsqueeze", pooled, graph.constant([1]))
        shapes[graph.op("Concat", first, tokens, axis=1, name="last_hidden_state")] = [batch, 1 + places, dim]
        if kind == "pooler":
            shapes[graph.op("MatMul", pooled, graph.weights(dim, dim), name="pooler_output")] = [batch, dim]
    graph.save(folder / model_file, {"pixel_values": (TensorProto.FLOAT, [batch, 3, "height", "width"])}, shapes)
    return write_image_config(folder, config)


def write_synthetic_multimodal_model(
    folder: Path,
    config: dict[str, Any],
    *,
    tiled: bool,
    model_file: str = "model.onnx",
    dim: int = 16,
    patch: int = 8,
    **tokenizer: Any,
) -> Path:
    """Write a model of texts and images: a token's vector hangs on itself, its place, its text and the pixels.

    ``tiled`` takes pixels as (images, tiles, 3, height, width), counts tiles by their place, and leaves out blank
    ones, as the graph of ColModernVBERT does.
    """
    from onnx import TensorProto

    write_tokenizer(folder, **tokenizer)
    graph, vocabulary = Graph(8), 997
    ids = graph.op("Mod", "input_ids", graph.constant(vocabulary))
    own = graph.op("Gather", graph.weights(vocabulary, dim), ids)
    mask = graph.op("Cast", "attention_mask", to=TensorProto.FLOAT)
    wide = graph.op("Unsqueeze", mask, graph.constant([2]))
    text = graph.op("ReduceSum", graph.op("Mul", own, wide), graph.constant([1]), keepdims=1)
    places = graph.op("Unsqueeze", graph.op("CumSum", mask, graph.constant(1)), graph.constant([2]))
    bent = graph.op("Sin", graph.op("Mul", places, graph.weights(1, 1, dim)))
    pixels = "pixel_values"
    if tiled:
        shape = graph.op("Shape", "pixel_values")
        single = graph.op(
            "Concat", graph.constant([-1]), graph.op("Slice", shape, graph.constant([2]), graph.constant([5])), axis=0
        )
        pixels = graph.op("Reshape", "pixel_values", single)
    seen = graph.op("ReduceMean", patches(graph, pixels, 16, patch), axes=[2], keepdims=0)
    image = graph.op("MatMul", seen, graph.weights(16, dim))
    if tiled:
        count = graph.op("Slice", shape, graph.constant([0]), graph.constant([2]))
        image = graph.op("Reshape", image, graph.op("Concat", count, graph.constant([dim]), axis=0))
        strongest = graph.op("ReduceMax", graph.op("Abs", "pixel_values"), axes=[2, 3, 4], keepdims=0)
        real = graph.op("Cast", graph.op("Greater", strongest, graph.constant(0, np.float32)), to=TensorProto.FLOAT)
        weight = graph.op("Mul", real, graph.op("CumSum", real, graph.constant(1)))
        image = graph.op("Mul", image, graph.op("Unsqueeze", weight, graph.constant([2])))
        image = graph.op("ReduceSum", image, graph.constant([1]), keepdims=0)
    shown = graph.op("Mul", graph.op("Unsqueeze", image, graph.constant([1])), own)
    graph.op(
        "Add", graph.op("Add", own, bent), graph.op("Add", graph.op("Tanh", text), shown), name="last_hidden_state"
    )
    pixel_shape = ["images", "tiles", 3, "height", "width"] if tiled else ["batch", 3, "height", "width"]
    inputs = {name: (TensorProto.INT64, ["batch", "sequence"]) for name in ("input_ids", "attention_mask")}
    graph.save(
        folder / model_file,
        {**inputs, "pixel_values": (TensorProto.FLOAT, pixel_shape)},
        {"last_hidden_state": ["batch", "sequence", dim]},
    )
    return write_image_config(folder, config)


def write_synthetic_colpali(folder: Path) -> Path:
    """Write a model with the shapes of ColPali v1.3, and the file of weights beside its graph."""
    write_synthetic_multimodal_model(
        folder,
        siglip_config(448, 448, resample=3),
        tiled=False,
        dim=128,
        patch=64,
        limit=64,
        special_map={"pad_token": "[PAD]", "more": ["<s>", "<pad>"]},
    )
    (folder / "model.onnx_data").touch()
    return folder
