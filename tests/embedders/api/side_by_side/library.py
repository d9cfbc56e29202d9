"""What both libraries are asked with: their names, models and images."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

TEXTS = [
    "the bat in the cave",
    "",
    "paris is a capital city",
    "hello, hello world! 3.14",
    "東京 x",
    "river bank money " * 30,
]


CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


STATIC, BM25 = "minishlab/potion-base-8M", "Qdrant/bm25"


# Class, and the models of it that are called: one of each way of doing.
TEXT_MODELS = {
    "TextEmbedding": [
        "BAAI/bge-small-en-v1.5",
        "sentence-transformers/all-MiniLM-L6-v2",
        "jinaai/jina-embeddings-v3",
        "Qwen/Qwen3-Embedding-0.6B",
        "Qdrant/clip-ViT-B-32-text",
        STATIC,
    ],
    "SparseTextEmbedding": [
        "prithivida/Splade_PP_en_v1",
        BM25,
        "Qdrant/bm42-all-minilm-l6-v2-attentions",
        "Qdrant/minicoil-v1",
        "opensearch-project/opensearch-neural-sparse-encoding-doc-v3-gte",
    ],
    "LateInteractionTextEmbedding": ["colbert-ir/colbertv2.0", "jinaai/jina-colbert-v2", "lightonai/LateOn"],
}


COLMODERNVBERT = "Qdrant/colmodernvbert"


RERANKER, IMAGE, COLPALI = "Xenova/ms-marco-MiniLM-L-6-v2", "Qdrant/clip-ViT-B-32-vision", "Qdrant/colpali-v1.3-fp16"


# One model of each class, for calls that do not hang on the model.
MODEL_OF = {
    **{facade: models[0] for facade, models in TEXT_MODELS.items()},
    "TextCrossEncoder": RERANKER,
    "ImageEmbedding": IMAGE,
    "LateInteractionMultimodalEmbedding": COLPALI,
}


PLACES = {
    "ModelSource": "fastembed.common.model_description",
    "PoolingType": "fastembed.common.model_description",
    "Device": "fastembed.common.types",
    "OnnxProvider": "fastembed.common",
    "ImageInput": "fastembed.common",
    "Muvera": "fastembed.postprocess",
    "TextCrossEncoder": "fastembed.rerank.cross_encoder",
    "DefaultEmbedding": "fastembed.embedding",
}


@dataclass
class Library:
    """One of the two: its names, a folder for each model, images, and models that several calls share."""

    name: str
    folder: Callable[[str], Path]
    images: Path
    _shared: dict[tuple[str, str], Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        module = PLACES.get(name, "fastembed") if self.name == "fastembed" else "embedders"
        return getattr(importlib.import_module(module), name)

    def make(self, facade: str, *arguments: Any, **options: Any) -> Any:
        """Make the class's model, on a CPU unless the options say more; its name is an argument or option."""
        name = arguments[0] if arguments else options.get("model_name", MODEL_OF[facade])
        path = {"specific_model_path": str(self.folder(name))}
        if not arguments and "model_name" not in options:
            arguments = (name,)
        if "cuda" not in options and "providers" not in options and len(arguments) < 5:
            options["cuda"] = False
        return getattr(self, facade)(*arguments, **{**path, **options})

    def shared(self, facade: str, name: str | None = None) -> Any:
        """The class's model, made once."""
        key = facade, name or MODEL_OF[facade]
        if key not in self._shared:
            self._shared[key] = self.make(*key)
        return self._shared[key]

    def image(self, name: str) -> Path:
        return self.images / name


@dataclass(frozen=True)
class Call:
    """A call by its name; ``run`` gives its result. ``kinds`` compares the types of numbers, too."""

    name: str
    run: Callable[[Library], Any]
    kinds: bool = False


def write_images(folder: Path, make: Callable[[int, int, int], Image.Image]) -> Path:
    """Files for the calls: plain ones, one that is to be turned, one with transparency, and what is no image."""
    plain = make(40, 30, 0)
    plain.save(folder / "plain.png")
    make(25, 60, 1).save(folder / "tall.png")
    turn = Image.Exif()
    turn[0x0112] = 6
    plain.save(folder / "turned.jpg", exif=turn)
    clear = plain.copy()
    clear.putalpha(make(40, 30, 2).convert("L"))
    clear.save(folder / "clear.png")
    (folder / "text.png").write_bytes(b"not an image")
    return folder
