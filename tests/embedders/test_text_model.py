"""What all ONNX text families share: batches do not show, bad rows are named, files are looked at when needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime.quantization import QuantType, quantize_dynamic

from embedders.api.sparse_embedding import from_arrow
from embedders.catalog import find_card
from embedders.errors import ModelFilesError
from embedders.factory import make_model
from tests.embedders.texts import ODD_TEXTS
from tests.synthetic_models import build_network, plan_of

# One model of each ONNX family, and one each of what dense models do differently.
NETWORKS = [
    "sentence-transformers/all-MiniLM-L6-v2",
    "Qwen/Qwen3-Embedding-0.6B",
    "google/siglip2-base-patch16-224",
    "prithivida/Splade_PP_en_v1",
    "opensearch-project/opensearch-neural-sparse-encoding-doc-v3-gte",
    "Qdrant/bm42-all-minilm-l6-v2-attentions",
    "Qdrant/minicoil-v1",
    "colbert-ir/colbertv2.0",
    "lightonai/LateOn",
    "Xenova/ms-marco-MiniLM-L-6-v2",
]
EMBEDDERS = [*NETWORKS[:-1], "minishlab/potion-base-8M", "Qdrant/bm25"]
TEXTS = [*ODD_TEXTS[:8], *ODD_TEXTS[10:], "the money bank", "a cave", "hello world", "birds fly over the river"]
TOLERANCE = 2e-6

Folder = Callable[[str], Path]


def load(name: str, folder: Path, **arguments: Any) -> Any:
    return make_model(find_card(name), {"specific_model_path": folder, "cuda": False, "threads": 1, **arguments})


def rows_of(model: Any, texts: list[str], max_rows: int | None = None, *, query: bool = False) -> list[Any]:
    """Each text's vector, matrix, {index: weight} or, of a reranker, score for one and the same query."""
    if model.card.family == "rerank":
        pairs = [(text, "a bird") if query else ("where is the river", text) for text in texts]
        return list(model.scores(pairs, max_rows=max_rows))
    if model.spec.kind == "sparse":
        column = model.embed_queries_arrow(texts) if query else model.embed_arrow(texts)
        return [vector.as_dict() for vector in from_arrow(column)]
    use = "query" if query else "passage"
    if model.spec.kind == "multivector":
        return list(model.embed_tokens(texts, use=use, max_rows=max_rows))
    return list(model.embed_array(texts, use=use, max_rows=max_rows))


def assert_same(rows: list[Any], expected: list[Any], tolerance: float = TOLERANCE) -> None:
    assert len(rows) == len(expected)
    for row, other in zip(rows, expected, strict=True):
        if isinstance(row, dict):
            assert row.keys() == other.keys()
            assert row == pytest.approx(other, abs=tolerance)
        else:
            assert np.shape(row) == np.shape(other)
            # Queries' token vectors and scores are as large as the graph gives them.
            np.testing.assert_allclose(row, other, atol=tolerance * max(1, np.abs(other).max(initial=0)), rtol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_synthetic_results_do_not_depend_on_order_or_batches(name: str, synthetic_model: Folder) -> None:
    folder = synthetic_model(name)
    whole = load(name, folder)
    expected = {query: rows_of(whole, TEXTS, query=query) for query in (False, True)}

    @settings(max_examples=6, deadline=None)
    @given(st.permutations(range(len(TEXTS))), st.integers(1, 700), st.integers(1, 20), st.booleans())
    def check(order: list[int], budget: int, max_rows: int, query: bool) -> None:
        other = load(name, folder, token_budget=budget)
        rows = rows_of(other, [TEXTS[row] for row in order], max_rows, query=query)
        assert_same(rows, [expected[query][row] for row in order])

    check()


def test_synthetic_graphs_that_quantize_activations_depend_on_the_batch(tmp_path: Path) -> None:
    """Why the catalog marks such models: one scale over the whole batch, chosen as the graph runs."""
    name = "nomic-ai/nomic-embed-text-v1.5-Q"
    card = find_card(name)
    build_network(tmp_path, plan_of(card), model_file="onnx/model.onnx")
    quantize_dynamic(tmp_path / "onnx" / "model.onnx", tmp_path / card.model_file, weight_type=QuantType.QInt8)
    texts = ["hello world", "the money bank of the river", "x " * 30, "東京 cave 😀"]
    alone, together = (load(name, tmp_path, token_budget=budget) for budget in (1, 4096))
    difference = np.abs(alone.embed_array(texts) - together.embed_array(texts)).max()
    assert card.varies_with_batch
    assert 100 * TOLERANCE < difference < 0.5


@pytest.mark.parametrize("name", EMBEDDERS)
@pytest.mark.parametrize("bad", [None, "\udc80", 7], ids=ascii)
def test_synthetic_models_name_the_text_that_is_none(name: str, bad: Any, synthetic_model: Folder) -> None:
    model = load(name, synthetic_model(name))
    for embed in (model.embed_arrow, model.embed_queries_arrow):
        with pytest.raises((ValueError, TypeError), match=r"text 3\b"):
            embed(["fine", "fine", "other", bad, "fine"])


@pytest.mark.parametrize("name", EMBEDDERS)
def test_synthetic_models_give_columns_of_their_type_even_for_no_text(name: str, synthetic_model: Folder) -> None:
    model = load(name, synthetic_model(name))
    for texts in ([], ["bat"], pa.array(["bat", "bat"]), pa.chunked_array([["cave"], [], ["bat", "cave"]])):
        for column in (model.embed_arrow(texts), model.embed_queries_arrow(texts)):
            assert (len(column), column.type, column.null_count) == (len(texts), model.spec.arrow_type, 0)
            column.validate(full=True)


@pytest.mark.parametrize("name", NETWORKS[:-1])
def test_synthetic_models_load_the_graph_for_vectors_only(name: str, synthetic_model: Folder, tmp_path: Path) -> None:
    for path in synthetic_model(name).rglob("*"):
        if path.is_file() and not path.name.endswith(".onnx"):
            copy = tmp_path / path.relative_to(synthetic_model(name))
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    graph = tmp_path / find_card(name).model_file
    graph.parent.mkdir(parents=True, exist_ok=True)
    graph.write_bytes(b"damaged")
    model = load(name, tmp_path, lazy_load=True)
    assert model.token_count(["hello world"]) >= 2
    if model.card.family in ("bm42", "neural_sparse"):
        assert len(model.embed_queries_arrow(["hello world"])[0]["indices"]) == 2
    with pytest.raises(ModelFilesError, match=graph.name):
        model.embed_arrow(["hello"])
    with pytest.raises(ModelFilesError, match=graph.name):
        load(name, tmp_path)


@pytest.mark.parametrize("name", NETWORKS)
def test_synthetic_models_count_and_log_what_they_truncate(
    name: str, synthetic_model: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    model = load(name, synthetic_model(name), max_length=12)
    long = "hello world " * 40
    rows_of(model, ["bat", long, "bat", "a " * 10_000])
    rows_of(model, [long, "bat", long])
    assert (model.stats.rows, model.stats.truncated) == (7, 4)
    assert model.stats.tokens <= model.stats.padded_tokens
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len([text for text in warnings if "2 of" in text and "truncated" in text]) == 1


@pytest.mark.parametrize("name", NETWORKS)
def test_synthetic_models_refuse_limits_that_leave_no_room(name: str, synthetic_model: Folder) -> None:
    with pytest.raises(ValueError, match="max_length"):
        load(name, synthetic_model(name), max_length=2)


FINGERPRINTS: list[tuple[str, list[dict[str, Any]]]] = [
    *((name, [{"max_length": 20}]) for name in NETWORKS[:-1]),
    ("nomic-ai/nomic-embed-text-v1.5", [{"dim": 256}, {"prompts": "auto"}, {"prompts": {"passage": "x "}}]),
    ("jinaai/jina-embeddings-v3", [{"task_id": 4}, {"task_id": "separation"}, {"dtype": "float16"}, {"dim": 512}]),
    ("colbert-ir/colbertv2.0", [{"dtype": "float16"}]),
    ("minishlab/potion-base-8M", [{"max_length": 20}]),
    ("Qdrant/bm42-all-minilm-l6-v2-attentions", [{"alpha": 0.7}]),
    ("Qdrant/minicoil-v1", [{"k": 1.5}, {"b": 0.5}, {"avg_len": 100.0}]),
    ("Qdrant/bm25", [{"k": 1.5}, {"b": 0.5}, {"avg_len": 100.0}, {"language": "german"}, {"stopwords": ["x"]}]),
]


@pytest.mark.parametrize(("name", "changes"), FINGERPRINTS, ids=str)
def test_synthetic_fingerprints_follow_what_changes_a_vector(
    name: str, changes: list[dict[str, Any]], synthetic_model: Folder
) -> None:
    folder = synthetic_model(name)
    base = load(name, folder).fingerprint
    assert base == load(name, folder, threads=2, token_budget=64, lazy_load=True).fingerprint
    if find_card(name).family == "dense":
        assert base == load(name, folder, prompts={"query": "find: "}).fingerprint
    prints = [load(name, folder, **change).fingerprint for change in changes]
    assert len({base, *prints}) == len(changes) + 1


@pytest.mark.parametrize("name", EMBEDDERS[:-1])
def test_synthetic_fingerprints_follow_the_files(name: str, synthetic_model: Folder, tmp_path: Path) -> None:
    folder = synthetic_model(name)
    own = [name for name in ("stopwords.txt", "idf.json", "minicoil.triplet.model.npy") if (folder / name).exists()]
    for changed in (find_card(name).model_file, "tokenizer.json", *own):
        copy = tmp_path / changed.replace("/", "-")
        for path in folder.rglob("*"):
            if path.is_file():
                target = copy / path.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
        assert load(name, copy).fingerprint == load(name, folder).fingerprint
        text = (copy / changed).read_bytes()
        (copy / changed).write_bytes(text + b"\n")
        assert load(name, copy, lazy_load=True).fingerprint != load(name, folder).fingerprint, changed
