"""bfloat16 by OpenVINO, float16 and int8 by files made here, beside float32; synthetic graphs, and MiniLM."""

from __future__ import annotations

import logging
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from embedders import DeviceError, ModelFilesError, TextEmbedding
from embedders.catalog import find_card, quantized_card
from embedders.factory import make_model
from embedders.float16 import float16_file
from embedders.openvino_session import bfloat16_trouble
from embedders.precision import card_at, precision_facts
from embedders.quantization import quantized_file
from embedders.session_settings import SessionSettings
from tests.embedders.test_text_model import NETWORKS, TEXTS, Folder, load, rows_of
from tests.image_model_fixtures import (
    clip_config,
    random_image,
    write_synthetic_image_model,
)
from tests.model_fixtures import MINILM, write_tokenizer
from tests.synthetic_graphs import Graph

needs_bfloat16 = pytest.mark.skipif(bfloat16_trouble() is not None, reason=str(bfloat16_trouble()))
PRECISIONS = [pytest.param("bfloat16", marks=needs_bfloat16), "float16", "int8"]
# Cosines of real weights' vectors; synthetic graphs are so narrow that rounding shows more.
LEAST = {"bfloat16": 0.9999, "float16": 0.9999, "int8": 0.95}
LEAST_SYNTHETIC = {"bfloat16": 0.995, "float16": 0.9995, "int8": 0.9}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model cache, where quantized copies are kept."""
    monkeypatch.setenv("FLEETEMBED_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def numbers(rows: list[Any]) -> npt.NDArray[np.float64]:
    """Rows of numbers: vectors, token vectors one behind the other, or the weights of all terms that are there."""
    if isinstance(rows[0], dict):
        terms = sorted({term for row in rows for term in row})
        return np.array([[row.get(term, 0.0) for term in terms] for row in rows])
    widest = max(np.size(row) for row in rows)
    return np.array([np.pad(np.ravel(row), (0, widest - np.size(row))) for row in rows], np.float64)


def cosines(rows: list[Any], others: list[Any]) -> npt.NDArray[np.float64]:
    both = numbers([*rows, *others])
    first, second = both[: len(rows)], both[len(rows) :]
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.where(lengths > 0, (first * second).sum(axis=1) / np.where(lengths > 0, lengths, 1), 1.0)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_synthetic_families_give_nearly_the_vectors_of_float32(
    name: str, precision: str, synthetic_model: Folder
) -> None:
    folder = synthetic_model(name)
    exact, other = load(name, folder), load(name, folder, precision=precision)
    for query in (False, True):
        expected, rows = (rows_of(model, TEXTS, query=query) for model in (exact, other))
        if find_card(name).family == "rerank":
            np.testing.assert_allclose(rows, expected, atol=0.1 * np.abs(expected).max())
        else:
            assert cosines(rows, expected).mean() > LEAST_SYNTHETIC[precision]
        # The queries of some sparse models go through no network.
        assert query or (numbers([*rows, *expected])[: len(rows)] != numbers([*rows, *expected])[len(rows) :]).any()
    if hasattr(exact, "fingerprint"):
        assert load(name, folder, precision="float32").fingerprint == exact.fingerprint != other.fingerprint


@needs_bfloat16
def test_synthetic_bfloat16_vectors_hardly_depend_on_the_batch(synthetic_model: Folder) -> None:
    folder = synthetic_model(MINILM)
    rows = [load(MINILM, folder, precision="bfloat16", token_budget=budget).embed_array(TEXTS) for budget in (1, 4096)]
    assert cosines(*map(list, rows)).min() > 0.9999


@pytest.mark.parametrize("precision", PRECISIONS)
def test_synthetic_images_are_embedded_by_several_threads(precision: str, tmp_path: Path) -> None:
    clip = write_synthetic_image_model(tmp_path / "clip", clip_config(32), side=32, dim=512)
    images = [random_image(40 + number, 32) for number in range(12)]
    settings = {"specific_model_path": clip, "threads": 2, "cuda": False}
    exact, other = (
        make_model(find_card("Qdrant/clip-ViT-B-32-vision"), {**settings, "precision": kind})
        for kind in ("float32", precision)
    )
    assert cosines(list(exact.embed_array(images)), list(other.embed_array(images))).min() > LEAST_SYNTHETIC[precision]
    assert exact.fingerprint != other.fingerprint


@pytest.mark.parametrize("precision", PRECISIONS)
def test_minilm_is_near_to_float32_and_keeps_its_order(precision: str, minilm: Path, docstrings: list[str]) -> None:
    texts = [text for text in docstrings if len(text) < 400][: 30 if precision == "float16" else 100]
    exact, other = (
        TextEmbedding(MINILM, specific_model_path=str(minilm), cuda=False, precision=kind)
        for kind in ("float32", precision)
    )
    expected, rows = (np.array(list(model.embed(texts))) for model in (exact, other))
    assert cosines(list(rows), list(expected)).min() > LEAST[precision]
    queries = np.array(list(exact.query_embed(["read a file line by line", "parse a date", "start a thread"])))
    best, first = (np.argsort(-queries @ vectors.T, axis=1)[:, :10] for vectors in (rows, expected))
    shared = [len(set(mine) & set(theirs)) for mine, theirs in zip(best.tolist(), first.tolist(), strict=True)]
    assert min(shared) >= (7 if precision == "int8" else 9)


def test_a_quantized_copy_is_made_once_and_anew_where_it_is_damaged(
    splade_folder: Path, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = splade_folder / "model.onnx"
    with caplog.at_level(logging.INFO), ThreadPoolExecutor(4) as threads:
        (copy,) = set(threads.map(lambda _: quantized_file(splade_folder, "model.onnx", ["model.onnx"]), range(4)))
    assert copy.is_relative_to(cache)
    assert copy.stat().st_size < 0.5 * source.stat().st_size
    assert [line for line in caplog.messages if line.startswith("quantizing")] == [f"quantizing {source}"]
    whole = copy.read_bytes()
    copy.write_bytes(whole[:1000])
    assert quantized_file(splade_folder, "model.onnx", ["model.onnx"]) == copy
    assert copy.stat().st_size == len(whole)
    # It belongs to what the file holds, not to where it is.
    moved = shutil.copy(source, tmp_path / "moved.onnx")
    assert quantized_file(tmp_path, "moved.onnx", ["moved.onnx"]) != copy
    shutil.copy(moved, tmp_path / "model.onnx")
    assert quantized_file(tmp_path, "model.onnx", ["model.onnx"]) == copy


def test_what_cannot_be_quantized_is_said(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelFilesError, match=r"model\.onnx cannot be quantized: .*; leave precision out"):
        quantized_file(tmp_path, "model.onnx", ["model.onnx"])
    assert not list(cache.rglob("model.onnx"))
    monkeypatch.setattr("embedders.quantization.onnx", None)
    with pytest.raises(DeviceError, match=r'quantizes the model by the package onnx: pip install "fleetembed\[int8\]"'):
        quantized_file(tmp_path, "model.onnx", ["model.onnx"])


@pytest.mark.parametrize("precision", ["int8", "float16"])
def test_without_onnx_queries_of_a_synthetic_model_run_in_float32_where_the_cache_cannot_be_written(
    precision: str, synthetic_model: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = synthetic_model(MINILM)
    (tmp_path / "cache").write_text("no folder, so that nothing can be made in it")
    monkeypatch.setenv("FLEETEMBED_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(ModelFilesError, match="cannot be stored"):
        load(MINILM, folder, precision=precision, float32_instead=True)
    monkeypatch.setattr("embedders.quantization.onnx", None)
    monkeypatch.setattr("embedders.float16.onnx", None)
    lenient = load(MINILM, folder, precision=precision, float32_instead=True)
    np.testing.assert_array_equal(lenient.embed_array(TEXTS), load(MINILM, folder).embed_array(TEXTS))


def test_a_float16_copy_is_made_once_and_is_half_as_large(
    splade_folder: Path, cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = splade_folder / "model.onnx"
    path = list(sys.path)
    with caplog.at_level(logging.INFO):
        (copy,) = {float16_file(splade_folder, "model.onnx", ["model.onnx"], 0) for _ in range(2)}
    assert copy.is_relative_to(cache)
    assert copy.stat().st_size < 0.6 * source.stat().st_size
    assert [line for line in caplog.messages if "float16" in line] == [f"converting {source} to float16"]
    # ONNX Runtime's tools put the folder of their modules there.
    assert sys.path == path
    monkeypatch.setattr("embedders.float16.onnx", None)
    assert float16_file(splade_folder, "model.onnx", ["model.onnx"], 0) == copy
    with pytest.raises(DeviceError, match=r'by the package onnx: pip install "fleetembed\[float16\]"'):
        float16_file(splade_folder, "config.json", ["config.json"], 0)


def test_what_float16_cannot_hold_is_refused(tmp_path: Path, cache: Path) -> None:
    """Synthetic: sums of more than 65,504, which float16 ends at."""
    size = write_tokenizer(tmp_path)
    graph = Graph(("input_ids",), vocabulary=size)
    x = graph.op("Gather", graph.weights(size, 16, scale=1), "input_ids")
    large = graph.op("Mul", graph.op("Mul", x, graph.scalar(1e4)), graph.scalar(1e4))
    graph.op("Mul", large, graph.scalar(1e-4), out="vectors")
    graph.save(tmp_path / "model.onnx", {"vectors": ["batch", "sequence", 16]})
    with pytest.raises(ModelFilesError, match=r"cannot run in float16, which ends at 65,504: .*; leave precision"):
        float16_file(tmp_path, "model.onnx", ["model.onnx"], 0)
    assert not list(cache.rglob("model.onnx"))
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelFilesError, match=r"model\.onnx cannot be converted to float16: .*; leave precision out"):
        float16_file(tmp_path, "model.onnx", ["model.onnx"], 0)


def test_a_file_in_half_precision_is_its_own_float16() -> None:
    half, plain = find_card("Qdrant/colpali-v1.3-fp16"), find_card(MINILM)
    assert precision_facts(half, "float16") == {} != precision_facts(plain, "float16")
    SessionSettings(precision="float16", cuda=True)


class WithoutBfloat16:
    """What OpenVINO says of a CPU of before 2020."""

    def get_property(self, device: str, name: str) -> list[str]:
        return ["FP32", "INT8"]


@pytest.mark.parametrize(
    ("name", "stand_in", "message"),
    [
        ("openvino", None, r'bfloat16 needs OpenVINO: pip install "fleetembed\[openvino\]"$'),
        ("_core", WithoutBfloat16, r"has no bfloat16 \(avx512_bf16 or amx_bf16.*\): leave precision out$"),
    ],
)
def test_synthetic_bfloat16_is_refused_where_it_cannot_be_and_queries_take_float32(
    name: str,
    stand_in: Any,
    message: str,
    synthetic_model: Folder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if name == "_core":
        pytest.importorskip("openvino")
    monkeypatch.setattr(f"embedders.openvino_session.{name}", stand_in)
    folder = synthetic_model(MINILM)
    with pytest.raises(DeviceError, match=message):
        load(MINILM, folder, precision="bfloat16")
    lenient = load(MINILM, folder, precision="bfloat16", float32_instead=True)
    assert "runs in float32" in caplog.text
    exact = load(MINILM, folder)
    np.testing.assert_array_equal(lenient.embed_array(TEXTS), exact.embed_array(TEXTS))
    assert lenient.fingerprint != exact.fingerprint


@needs_bfloat16
def test_synthetic_graphs_whose_inputs_are_not_fed_are_refused_by_openvino(synthetic_model: Folder) -> None:
    from embedders.openvino_session import OpenVinoSession

    session = OpenVinoSession(synthetic_model(MINILM) / "model.onnx", SessionSettings(threads=1))
    ids = np.array([[2, 9, 3]])
    with pytest.raises(ValueError, match="input attention_mask, token_type_ids is missing in the feed"):
        session.run(session.output_name(0), {"input_ids": ids})
    with pytest.raises(ModelFilesError, match=r"has no output 'pooler_output'; its outputs are "):
        session.output_name("pooler_output")


def test_int8_takes_the_file_that_the_catalog_knows() -> None:
    plain, quantized = (find_card(f"nomic-ai/nomic-embed-text-v1.5{end}") for end in ("", "-Q"))
    assert card_at(plain, "int8") == card_at(quantized, "int8") == quantized
    assert card_at(plain, "int8", own_files=True) == plain == card_at(plain, "bfloat16")
    assert quantized_card(find_card(MINILM)) is None
    for precision in ("bfloat16", "float16"):
        with pytest.raises(ValueError, match=rf"nomic-embed-text-v1\.5-Q is quantized already: {precision} would"):
            card_at(quantized, precision)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "float64"}, "precision must be float32, bfloat16, float16, int8, got 'float64'"),
        ({"precision": "int8", "cuda": True}, "precision int8 is for CPUs"),
        ({"precision": "bfloat16", "providers": ["CPUExecutionProvider"]}, "precision bfloat16 is for CPUs"),
    ],
)
def test_settings_that_do_not_fit_a_precision_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SessionSettings(**settings)
