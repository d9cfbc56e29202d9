from __future__ import annotations

import json
from math import erf, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from safetensors.numpy import load_file, save_file

from embedders.api.text_embedding import TextEmbedding
from embedders.errors import ModelFilesError
from embedders.export.bert import export_bert
from tests.model_fixtures import MINILM, write_synthetic_checkpoint

Tensors = dict[str, Any]


def linear(x: np.ndarray, t: Tensors, name: str) -> np.ndarray:
    return x @ t[f"{name}.weight"].T.astype(np.float64) + t[f"{name}.bias"]


def layer_norm(x: np.ndarray, t: Tensors, name: str) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) * t[f"{name}.weight"] + t[f"{name}.bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(erf)(x / sqrt(2)))


def reference_bert(t: Tensors, ids: list[int], heads: int) -> dict[str, np.ndarray]:
    """BERT on one text without padding, in float64."""
    word, position, segment = (t[f"embeddings.{part}_embeddings.weight"] for part in ("word", "position", "token_type"))
    x = layer_norm(word[ids].astype(np.float64) + position[: len(ids)] + segment[0], t, "embeddings.LayerNorm")
    outputs: dict[str, np.ndarray] = {}
    for layer in range(2):
        prefix = f"encoder.layer.{layer}"
        parts = [linear(x, t, f"{prefix}.attention.self.{part}") for part in ("query", "key", "value")]
        q, k, v = (part.reshape(len(ids), heads, -1).swapaxes(0, 1) for part in parts)
        weights = np.exp(q @ k.swapaxes(1, 2) / sqrt(q.shape[-1]))
        weights /= weights.sum(-1, keepdims=True)
        outputs[f"attention_{layer + 1}"] = weights
        mixed = (weights @ v).swapaxes(0, 1).reshape(len(ids), -1)
        x = layer_norm(
            x + linear(mixed, t, f"{prefix}.attention.output.dense"), t, f"{prefix}.attention.output.LayerNorm"
        )
        inner = linear(gelu(linear(x, t, f"{prefix}.intermediate.dense")), t, f"{prefix}.output.dense")
        x = layer_norm(x + inner, t, f"{prefix}.output.LayerNorm")
    transform = gelu(linear(x, t, "cls.predictions.transform.dense"))
    transform = layer_norm(transform, t, "cls.predictions.transform.LayerNorm")
    return {**outputs, "last_hidden_state": x, "logits": transform @ word.T + t["cls.predictions.bias"]}


def run(folder: Path, texts: list[list[int]]) -> list[np.ndarray]:
    width = max(map(len, texts))
    ids = np.array([text + [0] * (width - len(text)) for text in texts])
    mask = np.array([[1] * len(text) + [0] * (width - len(text)) for text in texts])
    feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    names = {node.name for node in session.get_inputs()}
    return list(session.run(None, {name: array for name, array in feed.items() if name in names}))


def test_real_minilm_matches_the_published_vector(minilm: Path, shared_data: Path) -> None:
    published = json.loads((shared_data / "reference-vectors" / "fastembed_canonical.json").read_text())
    expected = published["text_onnx_embeddings"]["CANONICAL_VECTOR_VALUES"][MINILM]
    vector = next(TextEmbedding(MINILM, specific_model_path=minilm).embed("hello world"))
    np.testing.assert_allclose(vector[: len(expected)], expected, atol=2e-5)


def test_synthetic_checkpoint_gives_what_the_formulas_give(tmp_path: Path) -> None:
    tensors = write_synthetic_checkpoint(tmp_path / "in", head=True)
    names = ["logits", "attention_2", "last_hidden_state", "attention_1"]
    folder = export_bert(tmp_path / "in", tmp_path / "out", outputs=names)
    texts = [[2, 8, 3], [2, 5, 9, 14, 30, 41, 3], [2, 3]]
    outputs = dict(zip(names, run(folder, texts), strict=True))
    for row, text in enumerate(texts):
        n = len(text)
        for name, expected in reference_bert(tensors, text, heads=4).items():
            got = outputs[name][row][:, :n, :n] if name.startswith("attention") else outputs[name][row][:n]
            np.testing.assert_allclose(got, expected, atol=2e-4, err_msg=name)
        np.testing.assert_array_equal(outputs["attention_1"][row][:, :, n:], 0)


def test_synthetic_checkpoint_exports_to_the_same_bytes(tmp_path: Path) -> None:
    write_synthetic_checkpoint(tmp_path / "in")
    first, second = (export_bert(tmp_path / "in", tmp_path / name) for name in ("one", "two"))
    names = sorted(path.name for path in first.iterdir())
    assert names == ["config.json", "model.onnx", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def test_synthetic_export_leaves_out_what_no_output_needs(tmp_path: Path) -> None:
    write_synthetic_checkpoint(tmp_path / "in", head=True)
    sizes = [
        (export_bert(tmp_path / "in", tmp_path / name, outputs=[name]) / "model.onnx").stat().st_size
        for name in ("attention_1", "last_hidden_state", "logits")
    ]
    assert sizes == sorted(set(sizes))


def test_synthetic_checkpoint_of_the_old_spelling_is_the_same_model(tmp_path: Path) -> None:
    write_synthetic_checkpoint(tmp_path / "new")
    write_synthetic_checkpoint(tmp_path / "old")
    tensors = load_file(tmp_path / "old" / "model.safetensors")
    spelled = {
        name.removeprefix("bert.").replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): tensor
        for name, tensor in tensors.items()
    }
    save_file(spelled, tmp_path / "old" / "model.safetensors")
    new, old = (export_bert(tmp_path / name, tmp_path / f"{name}-out") / "model.onnx" for name in ("new", "old"))
    assert new.read_bytes() == old.read_bytes()


def test_a_wrong_digest_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    write_synthetic_checkpoint(tmp_path / "in")
    with pytest.raises(ModelFilesError, match=r"has sha256 .* expected 00ff"):
        export_bert(tmp_path / "in", tmp_path / "out", weights_sha256="00ff")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("outputs", [["logits"], ["attention_3"], ["pooler_output"], []])
def test_outputs_the_checkpoint_lacks_are_refused(outputs: list[str], tmp_path: Path) -> None:
    write_synthetic_checkpoint(tmp_path / "in")
    with pytest.raises(ModelFilesError, match="choose among last_hidden_state, attention_1, attention_2"):
        export_bert(tmp_path / "in", tmp_path / "out", outputs=outputs)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    gone = "encoder.layer.1.output.dense.bias"
    write_synthetic_checkpoint(tmp_path / "in", without=[gone])
    with pytest.raises(ModelFilesError, match=gone):
        export_bert(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_an_incomplete_checkpoint_is_refused(name: str, tmp_path: Path) -> None:
    write_synthetic_checkpoint(tmp_path / "in")
    (tmp_path / "in" / name).unlink()
    with pytest.raises(ModelFilesError, match=f"has no {name}"):
        export_bert(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(("key", "value"), [("model_type", "t5"), ("hidden_act", "relu")])
def test_other_architectures_are_refused(key: str, value: str, tmp_path: Path) -> None:
    write_synthetic_checkpoint(tmp_path / "in")
    path = tmp_path / "in" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ModelFilesError, match=f"{key} is '{value}'"):
        export_bert(tmp_path / "in", tmp_path / "out")
