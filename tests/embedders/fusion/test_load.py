"""Fused attention of exported BERTs, real and synthetic, against the graph as ONNX Runtime runs the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest

from embedders import TextEmbedding
from embedders.export.bert import export_bert
from embedders.fusion.cpu import LONG
from embedders.fusion.load import FusedFor, fused_graph
from embedders.onnx_messages import OnnxFile
from embedders.session import OnnxSession
from embedders.session_settings import CPU, CUDA, SessionSettings
from tests.model_fixtures import MINILM, write_synthetic_checkpoint
from tests.synthetic_graphs import Graph

CPU_ONLY = [CPU]
# Rows, tokens, and whether later rows have more and more padding.
BATCHES = [(4, 40, True), (3, LONG + 6, False), (3, LONG + 6, True), (1, LONG, False), (5, 17, False), (2, 1, False)]


def feed(rows: int, tokens: int, padded: bool, vocabulary: int, side: str = "right") -> dict[str, npt.NDArray[Any]]:
    ids = np.random.default_rng(rows * tokens).integers(0, vocabulary, (rows, tokens))
    mask = np.ones_like(ids)
    for row in range(1, rows if padded else 0):
        mask[row, slice(tokens - 3 * row, None) if side == "right" else slice(3 * row)] = 0
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def opened(model: bytes | Path, optimized: Path | None = None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    source = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(source, options, providers=CPU_ONLY)


def operators(path: Path) -> Counter[str]:
    """How often each operator is in a file, branches included."""

    def nodes(graph: Any) -> Iterator[Any]:
        for node in graph.node:
            yield node
            for attribute in node.attribute:
                yield from nodes(attribute.g)

    return Counter(node.op_type for node in nodes(onnx.load(str(path), load_external_data=False).graph))


def largest_difference(session: ort.InferenceSession, plain: ort.InferenceSession, batch: dict[str, Any]) -> float:
    """Over the real tokens of the first output."""
    known = {node.name: batch[node.name] for node in plain.get_inputs()}
    both = [one.run([plain.get_outputs()[0].name], known)[0] for one in (session, plain)]
    return float(np.abs((both[0] - both[1]) * batch["attention_mask"][:, :, None]).max())


def fused(path: Path, kind: FusedFor) -> bytes:
    graph = fused_graph(path, kind)
    assert graph is not None
    return graph


def test_all_attention_of_minilm_is_fused(minilm: Path, tmp_path: Path) -> None:
    plain = opened(minilm / "model.onnx", tmp_path / "plain.onnx")
    assert operators(tmp_path / "plain.onnx")["Softmax"] == 6
    for kind, expected in (
        (FusedFor.CPU, {"MultiHeadAttention": 6, "If": 6, "BiasGelu": 6, "LayerNormalization": 13}),
        (
            FusedFor.GPU,
            {
                "Attention": 6,
                "SkipLayerNormalization": 12,
                "LayerNormalization": 1,
                "BiasGelu": 6,
                "Softmax": 0,
                "If": 0,
            },
        ),
    ):
        session = opened(fused(minilm / "model.onnx", kind), tmp_path / "fused.onnx")
        counts = operators(tmp_path / "fused.onnx")
        assert {name: counts[name] for name in expected} == expected
        for rows, tokens, padded in BATCHES:
            assert largest_difference(session, plain, feed(rows, tokens, padded, 30522)) < 1e-5
        # Padding on the other side.
        assert largest_difference(session, plain, feed(3, 40, True, 30522, "left")) < 1e-5


def test_minilm_is_loaded_with_fused_attention_and_keeps_its_fingerprint(
    minilm: Path, docstrings: list[str], tmp_path: Path
) -> None:
    saved = tmp_path / "loaded.onnx"
    level = {"graph_optimization_level": ort.GraphOptimizationLevel.ORT_ENABLE_ALL}
    plain, model = (
        TextEmbedding(MINILM, specific_model_path=str(minilm), cuda=False, threads=1, session_options=options)
        for options in (level, {"optimized_model_filepath": str(saved)})
    )
    texts = [text for text in docstrings if len(text) > 600][:6]
    np.testing.assert_allclose(list(model.embed(texts)), list(plain.embed(texts)), atol=1e-6)
    assert operators(saved)["MultiHeadAttention"] == 6
    assert model.fingerprint == plain.fingerprint


@pytest.fixture(scope="module")
def synthetic_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT with random weights, as embedders.export writes it."""
    folder = tmp_path_factory.mktemp("bert")
    write_synthetic_checkpoint(folder / "checkpoint")
    return export_bert(folder / "checkpoint", folder / "exported", outputs=("last_hidden_state",)) / "model.onnx"


def test_a_synthetic_graph_that_a_gpu_does_not_take_is_fused_for_the_cpu(
    synthetic_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Any] = []
    start = ort.InferenceSession

    def start_on_the_cpu(model: Any, sess_options: ort.SessionOptions, providers: Any) -> ort.InferenceSession:
        taken.append(model)
        return start(model, sess_options, providers=CPU_ONLY)

    monkeypatch.setattr("embedders.session.cuda_devices", lambda: 1)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(ort, "InferenceSession", start_on_the_cpu)
    assert OnnxSession(synthetic_bert, SessionSettings(threads=1)).providers == CPU_ONLY
    assert taken == [fused_graph(synthetic_bert, kind) for kind in (FusedFor.GPU, FusedFor.CPU)]


def in_torchs_spelling(path: Path, mask: str) -> Path:
    """Attention and feed-forward with random weights, spelled as PyTorch exports BERT; ``mask`` is one of its masks."""
    graph = Graph(("input_ids", "attention_mask"), vocabulary=50, hidden=16, heads=2)
    op, size = graph.op, 8
    x = graph.layer_norm(op("Gather", graph.weights(50, 16, scale=1), "input_ids"))
    batch, length = (
        op("Unsqueeze", op("Gather", op("Shape", x), graph.constant(np.int64(axis)), axis=0), graph.axes(0))
        for axis in (0, 1)
    )
    wide = op("Unsqueeze", op("Unsqueeze", "attention_mask", graph.axes(1)), graph.axes(2))
    lowest = graph.scalar(np.finfo(np.float32).min)
    if mask == "product":
        hidden = op("Mul", op("Sub", graph.scalar(1), op("Cast", wide, to=onnx.TensorProto.FLOAT)), lowest)
    else:
        shape = op("Concat", batch, graph.axes(1), length, length, axis=0)
        padding = op("Sub", graph.scalar(1), op("Cast", op("Expand", wide, shape), to=onnx.TensorProto.FLOAT))
        hidden = op("Where", op("Cast", padding, to=onnx.TensorProto.BOOL), lowest, padding)

    def linear(value: str, width: int, out: int) -> str:
        # The bias comes first there.
        return op("Add", graph.weights(out, scale=0.1), op("MatMul", value, graph.weights(width, out)))

    def cut(permutation: list[int]) -> str:
        shape = op("Concat", batch, length, graph.axes(2), graph.axes(size), axis=0)
        return op("Transpose", op("Reshape", linear(x, 16, 16), shape), perm=permutation)

    query, key, value = cut([0, 2, 1, 3]), cut([0, 2, 3, 1]), cut([0, 2, 1, 3])
    if mask == "product":
        scores = op("Div", op("MatMul", query, key), graph.scalar(size**0.5))
    else:
        scale = graph.scalar(size**-0.25)
        scores = op("MatMul", op("Mul", query, scale), op("Mul", key, scale))
    shares = op("Softmax", op("Add", scores, hidden), axis=-1)
    mixed = op("Transpose", op("MatMul", shares, value), perm=[0, 2, 1, 3])
    sizes = [op("Gather", op("Shape", mixed), graph.constant(np.int64(axis)), axis=0) for axis in (0, 1)]
    merged = op("Concat", *(op("Unsqueeze", one, graph.axes(0)) for one in sizes), graph.axes(16), axis=0)
    attended = linear(op("Reshape", mixed, merged), 16, 16)
    x = graph.layer_norm(op("Add", attended, x))
    inner = linear(x, 16, 32)
    erf = op("Erf", op("Div", inner, graph.scalar(2**0.5)))
    gelu = op("Mul", op("Mul", inner, op("Add", erf, graph.scalar(1))), graph.scalar(0.5))
    graph.layer_norm(op("Add", linear(gelu, 32, 16), x))
    graph.nodes[-1].output[0] = "last_hidden_state"
    graph.save(path, {"last_hidden_state": ["batch", "sequence", 16]})
    return path


@pytest.mark.parametrize("mask", ["product", "where"])
def test_synthetic_graphs_in_torchs_spelling_are_fused(mask: str, tmp_path: Path) -> None:
    path = in_torchs_spelling(tmp_path / "model.onnx", mask)
    plain = opened(path, tmp_path / "plain.onnx")
    assert operators(tmp_path / "plain.onnx")["Softmax"] == 1
    for kind, names in (
        (FusedFor.CPU, {"MultiHeadAttention": 1}),
        (FusedFor.GPU, {"Attention": 1, "SkipLayerNormalization": 2, "BiasGelu": 1, "Softmax": 0}),
    ):
        session = opened(fused(path, kind), tmp_path / "fused.onnx")
        counts = operators(tmp_path / "fused.onnx")
        assert {name: counts[name] for name in names} == names
        for rows, tokens, padded in BATCHES:
            assert largest_difference(session, plain, feed(rows, tokens, padded, 50)) < 1e-5


def test_synthetic_weights_in_a_file_of_their_own_are_found(synthetic_bert: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model = onnx.load(str(synthetic_bert))
    onnx.save_model(model, str(path), save_as_external_data=True, location="weights", size_threshold=100)
    saved = tmp_path / "loaded.onnx"
    options = {"optimized_model_filepath": str(saved)}
    session = OnnxSession(path, SessionSettings(threads=1, cuda=False, session_options=options))
    batch = feed(2, LONG, False, 30)
    assert operators(saved)["MultiHeadAttention"] > 0
    expected = opened(synthetic_bert).run(None, batch)[0]
    np.testing.assert_allclose(session.run("last_hidden_state", batch), expected, atol=1e-5)


def test_synthetic_attention_that_is_asked_for_stays(tmp_path: Path) -> None:
    write_synthetic_checkpoint(tmp_path / "checkpoint")
    outputs = ("last_hidden_state", "attention_1")
    path = export_bert(tmp_path / "checkpoint", tmp_path / "exported", outputs=outputs) / "model.onnx"
    batch, plain = feed(2, LONG, True, 30), opened(path)
    for kind in FusedFor:
        graph = fused_graph(path, kind)
        session = opened(path if graph is None else graph)
        for given, expected in zip(session.run(None, batch), plain.run(None, batch), strict=True):
            real = batch["attention_mask"].reshape(2, *([1] * (expected.ndim - 3)), LONG, 1)
            np.testing.assert_allclose(given * real, expected * real, atol=1e-5)


def test_what_is_no_graph_with_attention_is_left_to_onnx_runtime(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for content in (b"", b"no graph at all", b"\x3a\xff\xff\xff\xff\x0f"):
        path.write_bytes(content)
        assert fused_graph(path, FusedFor.CPU) is None
    graph = Graph(("input_ids",), vocabulary=50)
    x = graph.op("Gather", graph.weights(50, 16), "input_ids")
    graph.op("Softmax", x, axis=-1, out="shares")
    graph.save(path, {"shares": ["batch", "sequence", 16]})
    assert fused_graph(path, FusedFor.GPU) is None


def test_a_synthetic_file_is_written_as_it_was_read(synthetic_bert: Path) -> None:
    data = synthetic_bert.read_bytes()
    file = OnnxFile(data)
    again = onnx.load_from_string(file.serialize(set(file.tensors)))
    before = onnx.load_from_string(data)
    for model in (again, before):
        model.graph.initializer.sort(key=lambda tensor: tensor.name)
    assert again == before
