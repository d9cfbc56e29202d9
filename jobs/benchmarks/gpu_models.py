"""Model folders for the benchmark of GPUs: MiniLM's real weights, and random ones of the sizes of BERT base and large.

A folder has an export, and in it the checkpoint that it was made from as Hugging Face lays it out, so that all compute
the same network. Random weights are as fast as real ones, and of no use for search.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from embedders import TextEmbedding
from embedders.export.bert import export_bert
from embedders.export.packaged import packaged_minilm

INIT_SCALE = 0.02
POSITIONS = 512
VOCABULARY = 30522
WEIGHT_FILES = ("config.json", "model.safetensors")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


@dataclass(frozen=True)
class Size:
    """A BERT: hidden width, layers, heads, the tokens of a text at most, and whether its weights are real."""

    hidden: int
    layers: int
    heads: int
    max_length: int = POSITIONS
    real: bool = False

    def flops_a_token(self, length: int) -> float:
        """Floating-point operations of the matrix products, for each token of a text of so many."""
        return self.layers * (24.0 * self.hidden**2 + 4.0 * length * self.hidden)


SIZES = {
    "minilm": Size(384, 6, 12, max_length=256, real=True),
    "base": Size(768, 12, 12),
    "large": Size(1024, 24, 16),
}
# What stands for base and large on a machine without a GPU.
TINY = {"minilm": SIZES["minilm"], "base": Size(64, 2, 2), "large": Size(96, 3, 3)}


def make_model(name: str, size: Size, folder: Path, checkpoint: Path | None) -> Path:
    """Make a model's folder unless it is there; ``checkpoint`` holds MiniLM, None takes the packaged one."""
    target = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{name}.lock"):
        return target if (target / "model.onnx").exists() else _make(size, target, checkpoint)


def _make(size: Size, target: Path, checkpoint: Path | None) -> Path:
    source, copy = checkpoint or packaged_minilm(), checkpoint_of(target)
    copy.mkdir(parents=True, exist_ok=True)
    for one in (*TOKENIZER_FILES, *(WEIGHT_FILES if size.real else ())):
        if (source / one).exists():
            shutil.copyfile(source / one, copy / one)
    if not size.real:
        (copy / "config.json").write_text(json.dumps(_config(size)), encoding="utf-8")
        _write_safetensors(copy / "model.safetensors", _random_tensors(size))
    return export_bert(copy, target)


def checkpoint_of(folder: Path) -> Path:
    """Where a model's folder has the checkpoint that it was exported from."""
    return folder / "checkpoint"


def open_embedder(name: str, size: Size, folder: Path, **options: Any) -> TextEmbedding:
    """Open a model's folder as a user opens a model of his own; ``options`` are those of TextEmbedding."""
    known = f"benchmark/{name}"
    if known not in {model["model"] for model in TextEmbedding.list_supported_models()}:
        TextEmbedding.add_custom_model(
            known, "mean", True, folder / name, size.hidden, model_file="model.onnx", license="apache-2.0"
        )
    return TextEmbedding(known, max_length=size.max_length, cache_dir=folder / "cache", **options)


def _config(size: Size) -> dict[str, Any]:
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": size.hidden,
        "intermediate_size": 4 * size.hidden,
        "num_attention_heads": size.heads,
        "num_hidden_layers": size.layers,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "vocab_size": VOCABULARY,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "initializer_range": INIT_SCALE,
    }


def _random_tensors(size: Size) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """Tensors of a checkpoint as BERT is initialized; all layers have the weights of the first."""
    rng = np.random.default_rng(0)
    hidden, inner = size.hidden, 4 * size.hidden

    def random(*shape: int) -> npt.NDArray[np.float32]:
        values: npt.NDArray[np.float32] = rng.standard_normal(shape, dtype=np.float32) * np.float32(INIT_SCALE)
        return values

    def norm(prefix: str) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
        yield f"{prefix}.weight", np.ones(hidden, np.float32)
        yield f"{prefix}.bias", np.zeros(hidden, np.float32)

    for part, rows in (("word", VOCABULARY), ("position", POSITIONS), ("token_type", 2)):
        yield f"embeddings.{part}_embeddings.weight", random(rows, hidden)
    yield from norm("embeddings.LayerNorm")
    shapes = {f"attention.self.{part}": (hidden, hidden) for part in ("query", "key", "value")} | {
        "attention.output.dense": (hidden, hidden),
        "intermediate.dense": (inner, hidden),
        "output.dense": (hidden, inner),
    }
    weights = {part: random(*shape) for part, shape in shapes.items()}
    for layer in range(size.layers):
        prefix = f"encoder.layer.{layer}"
        for part, value in weights.items():
            yield f"{prefix}.{part}.weight", value
            yield f"{prefix}.{part}.bias", np.zeros(len(value), np.float32)
        yield from norm(f"{prefix}.attention.output.LayerNorm")
        yield from norm(f"{prefix}.output.LayerNorm")


def _write_safetensors(path: Path, tensors: Iterator[tuple[str, npt.NDArray[np.float32]]]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    values, at = [], 0
    for name, value in tensors:
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        values.append(value)
        at += value.nbytes
    told = json.dumps(header).encode()
    told += b" " * (-len(told) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(told)) + told)
        for value in values:
            file.write(value.tobytes())
