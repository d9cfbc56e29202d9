from __future__ import annotations

import ast
import itertools
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fastembed import TextEmbedding as FastembedTextEmbedding
from hypothesis import given, settings
from hypothesis import strategies as st

from embedders.api.facade import READ_AHEAD
from embedders.api.text_embedding import TextEmbedding
from embedders.catalog import load_cards
from embedders.errors import DeviceError, ModelFilesError, ModelNotFoundError
from embedders.session import cuda_devices
from tests.embedders.texts import by_length
from tests.model_fixtures import MINILM, Kind, write_synthetic_model

ODD_TEXTS = [
    "",
    " ",
    "a",
    "the " * 700,
    "🎉 emoji 👨‍👩‍👧‍👦 family",
    "東京は日本の首都です。",
    "مرحبا بالعالم",
    "e\u0301 n\u0303 and \u0301 alone",
    "tab\tnul\x00 zero\u200bwidth",
    "twice",
    "twice",
]

SHORT = ["hello world", "", "the quick brown fox jumps", "paris is the capital of", "a", "fox " * 40]

# Catalog name, what its graph gives, how its tokenizer pads: one of each way to make a vector.
SYNTHETIC: list[tuple[str, Kind, str]] = [
    ("BAAI/bge-small-en-v1.5", "tokens", "right"),
    ("BAAI/bge-small-en-v1.5", "pooled", "right"),
    (MINILM, "tokens", "right"),
    ("sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2", "tokens", "left"),
    ("Qwen/Qwen3-Embedding-0.6B-Q", "tokens", "left"),
    ("Qwen/Qwen3-Embedding-0.6B-Q", "tokens", "right"),
    ("ibm-granite/granite-embedding-small-english-r2", "two_outputs", "right"),
    ("Qdrant/clip-ViT-B-32-text", "pooled", "right"),
]


@pytest.fixture(scope="module")
def model(minilm: Path) -> TextEmbedding:
    return TextEmbedding(MINILM, specific_model_path=minilm, cuda=False, threads=2)


def stdlib_docstrings(modules: tuple[str, ...] = ("argparse", "json/decoder", "random", "statistics")) -> list[str]:
    folder = Path(sysconfig.get_paths()["stdlib"])
    nodes = itertools.chain.from_iterable(ast.walk(ast.parse((folder / f"{m}.py").read_text())) for m in modules)
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return [text for node in nodes if isinstance(node, kinds) and (text := ast.get_docstring(node))]


def synthetic(folder: Path, name: str, kind: Kind = "tokens", **tokenizer: Any) -> Path:
    card = next(card for card in load_cards("dense") if card.model == name)
    write_synthetic_model(folder, kind, model_file=card.model_file, **tokenizer)
    for extra in card.additional_files:
        (folder / extra).touch()
    return folder


@pytest.mark.slow
def test_real_minilm_gives_fastembeds_vectors(model: TextEmbedding, minilm: Path) -> None:
    texts = stdlib_docstrings()[:24] + ODD_TEXTS
    order = by_length(texts)
    reference = FastembedTextEmbedding(MINILM, specific_model_path=str(minilm), cuda=False)
    expected = list(reference.embed([texts[row] for row in order], batch_size=4))
    vectors = list(model.embed(texts))
    np.testing.assert_allclose(np.stack(vectors)[order], expected, atol=1e-5)
    assert all(vector.dtype == np.float32 and vector.shape == (384,) for vector in vectors)
    assert model.token_count(texts) == reference.token_count(texts)


@pytest.mark.parametrize(("name", "kind", "side"), SYNTHETIC)
def test_synthetic_graphs_pool_as_fastembed_does(name: str, kind: Kind, side: str, tmp_path: Path) -> None:
    folder = synthetic(tmp_path, name, kind, padding_side=side)
    ours = TextEmbedding(name, specific_model_path=folder, cuda=False, token_budget=40)
    reference = FastembedTextEmbedding(name, specific_model_path=str(folder), cuda=False)
    np.testing.assert_allclose(list(ours.embed(SHORT)), list(reference.embed(SHORT)), atol=1e-5)
    assert ours.dim == 24


def test_synthetic_left_padding_does_not_reach_the_cls_vector(tmp_path: Path) -> None:
    name = "BAAI/bge-small-en-v1.5"
    folder = synthetic(tmp_path, name, padding_side="left")
    ours = TextEmbedding(name, specific_model_path=folder, cuda=False)
    # One by one: in a batch, fastembed takes the padding at position 0.
    reference = FastembedTextEmbedding(name, specific_model_path=str(folder), cuda=False)
    np.testing.assert_allclose(list(ours.embed(SHORT)), list(reference.embed(SHORT, batch_size=1)), atol=1e-5)


def test_real_minilm_vectors_do_not_depend_on_order_or_batches(model: TextEmbedding, minilm: Path) -> None:
    texts = [*SHORT, "hello world", "e\u0301", "x" * 90, "the brown fox", "東京", "paris"]
    expected = model.embed_array(texts)
    # Loaded once: the graph is large.
    other = TextEmbedding(MINILM, specific_model_path=minilm, cuda=False, threads=1, token_budget=1)
    assert other.model.text_model.token_budget == 1

    @settings(max_examples=8, deadline=None)
    @given(st.permutations(range(12)), st.integers(1, 1000), st.integers(1, 12))
    def check(order: list[int], budget: int, batch_size: int) -> None:
        other.model.text_model.runner.budget.most = budget
        vectors = np.stack(list(other.embed([texts[row] for row in order], batch_size)))
        np.testing.assert_allclose(vectors, expected[order], atol=2e-6)

    check()


def test_arrow_column_holds_the_same_vectors(model: TextEmbedding) -> None:
    texts = [*SHORT, "one", "two", "three"]
    expected = np.stack(list(model.embed(texts)))
    for given_texts in (texts, pa.array(texts), pa.chunked_array([texts[:4], texts[4:]])):
        column = model.embed_arrow(given_texts)
        assert column.type == pa.list_(pa.float32(), 384) == model.spec.arrow_type
        np.testing.assert_allclose(column.flatten().to_numpy().reshape(9, 384), expected, atol=1e-6)
    assert model.embed_queries_arrow(texts).equals(model.embed_arrow(texts))
    assert model.embed_arrow([]).equals(pa.array([], model.spec.arrow_type))


def test_queries_passages_and_single_texts_are_documents(model: TextEmbedding) -> None:
    (expected,) = model.embed(["hello"])
    for vectors in (model.embed("hello"), model.query_embed("hello"), model.passage_embed(iter(["hello"]))):
        np.testing.assert_array_equal(np.stack(list(vectors)), [expected])
    assert list(model.embed([])) == []


def test_synthetic_model_reads_endless_documents_ahead_within_bounds(tmp_path: Path) -> None:
    model = TextEmbedding(MINILM, specific_model_path=synthetic(tmp_path, MINILM), cuda=False)
    taken = 0

    def documents() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield f"hello {taken}"

    vectors = model.embed(documents())
    assert taken == 0
    next(vectors)
    assert taken == READ_AHEAD


def test_synthetic_model_counts_rows_tokens_and_padding(tmp_path: Path) -> None:
    folder = synthetic(tmp_path, MINILM, limit=6)
    model = TextEmbedding(MINILM, specific_model_path=folder, cuda=False, token_budget=10)
    model.embed_arrow(["hello", "hello world fox", "hello", "fox " * 9, "fox " * 9])
    # Distinct texts of 3, 5 and 6 tokens, in batches of one, two texts.
    assert (model.stats.rows, model.stats.tokens, model.stats.truncated) == (5, 14, 2)
    assert model.stats.padded_tokens == 6 + 2 * 5
    assert model.stats.padding_waste == pytest.approx(2 / 16)
    assert model.stats.tokenize_seconds > 0
    assert model.stats.model_seconds > 0


def test_synthetic_model_runs_equal_texts_once(tmp_path: Path) -> None:
    model = TextEmbedding(MINILM, specific_model_path=synthetic(tmp_path, MINILM), cuda=False)
    vectors = model.embed_array(["fox", "paris", "fox", "fox"])
    assert model.stats.tokens == 6
    np.testing.assert_array_equal(vectors[[0, 2, 3]], np.stack([vectors[0]] * 3))
    assert not np.allclose(vectors[0], vectors[1])


def test_fingerprint_follows_what_changes_a_vector(minilm: Path, tmp_path: Path) -> None:
    def fingerprint(folder: Path = minilm, **options: Any) -> str:
        return TextEmbedding(MINILM, specific_model_path=folder, lazy_load=True, **options).fingerprint

    base = fingerprint()
    assert len(base) == 64
    assert base == fingerprint(threads=1, token_budget=64, cuda=False) == fingerprint(max_length=512)
    assert len({base, fingerprint(max_length=100), fingerprint(synthetic(tmp_path, MINILM))}) == 3


def test_lazy_loading_needs_the_synthetic_graph_only_for_vectors(tmp_path: Path) -> None:
    folder = synthetic(tmp_path, MINILM)
    (folder / "model.onnx").write_bytes(b"damaged")
    model = TextEmbedding(MINILM, specific_model_path=folder, cuda=False, lazy_load=True)
    assert model.token_count(["hello world", "fox"], batch_size=1) == 7
    with pytest.raises(ModelFilesError, match=r"model\.onnx"):
        next(model.embed(["fox"]))
    with pytest.raises(ModelFilesError, match=r"model\.onnx"):
        TextEmbedding(MINILM, specific_model_path=folder, cuda=False)


def test_max_length_override_changes_what_the_model_sees(model: TextEmbedding, minilm: Path) -> None:
    short = TextEmbedding(MINILM, specific_model_path=minilm, cuda=False, max_length=4)
    np.testing.assert_allclose(
        short.embed_array(["hello world and more"]), model.embed_array(["hello world"]), atol=1e-6
    )


@pytest.mark.parametrize("texts", [["fine", None], ["fine", "\udc80"]], ids=ascii)
def test_invalid_rows_are_named_by_their_position_among_duplicates(texts: list[Any], model: TextEmbedding) -> None:
    with pytest.raises(ValueError, match="text 3 of the batch"):
        model.embed_arrow(["fine", "fine", *texts])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"token_budget": 0}, "token_budget"), ({"threads": 0}, "threads"), ({"max_length": 1}, "max_length")],
)
def test_impossible_options_are_refused(options: dict[str, int], message: str, minilm: Path) -> None:
    with pytest.raises(ValueError, match=message):
        TextEmbedding(MINILM, specific_model_path=minilm, cuda=False, **options)


def test_batch_size_below_one_is_refused_at_once(model: TextEmbedding) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        model.embed(["a"], batch_size=0)


@pytest.mark.skipif(cuda_devices() > 0, reason="this machine has a GPU")
def test_cuda_without_a_device_is_an_error_and_auto_is_not(minilm: Path) -> None:
    with pytest.raises(DeviceError, match=r"CUDA.*cuda=False runs on the CPU"):
        TextEmbedding(MINILM, specific_model_path=minilm, cuda=True)
    assert TextEmbedding(MINILM, specific_model_path=minilm).providers == ["CPUExecutionProvider"]


def test_unknown_models_and_missing_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="Did you mean"):
        TextEmbedding("BAAI/bge-small-en-v1.6")
    with pytest.raises(ModelFilesError, match=r"nowhere' of model .* does not exist"):
        TextEmbedding(MINILM, specific_model_path=tmp_path / "nowhere")


def test_catalog_facts_equal_fastembeds() -> None:
    reference = FastembedTextEmbedding.list_supported_models()
    ours = [row for row in TextEmbedding.list_supported_models() if row["model"] != "BAAI/bge-m3"]
    assert len(ours) == len(reference)
    by_name = {row["model"]: row for row in ours}
    for row in reference:
        own = by_name[row["model"]]
        assert own["sources"]["hf"] == row["sources"]["hf"]
        same = row.keys() - {"description", "sources"}
        assert {name: own[name] for name in same} == {name: row[name] for name in same}
        assert TextEmbedding.get_embedding_size(row["model"].upper()) == row["dim"]
