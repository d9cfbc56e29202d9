"""Models that users add: as fastembed runs them where it can, and with mistakes named when they are loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastembed import TextEmbedding as FastembedDense
from fastembed.common.model_description import ModelSource, PoolingType
from fastembed.rerank.cross_encoder import TextCrossEncoder as FastembedReranker
from fastembed.rerank.cross_encoder.custom_text_cross_encoder import CustomTextCrossEncoder
from fastembed.text.custom_text_embedding import CustomTextEmbedding

from embedders import (
    LateInteractionTextEmbedding,
    ModelFilesError,
    ModelNotFoundError,
    SparseTextEmbedding,
    TextCrossEncoder,
    TextEmbedding,
)
from embedders.catalog import catalog, find_card
from embedders.factory import make_embedder
from tests import synthetic_graphs as heads
from tests.embedders.texts import ODD_TEXTS
from tests.synthetic_models import Plan, build_network

NAME = "tests/mine"
SOURCE = ModelSource(hf="tests/mine")
# Without CLS and padding on the left, where fastembed takes the padding for the first token.
POOLINGS = [(pooling, "right") for pooling in PoolingType] + [
    (PoolingType.MEAN, "left"),
    (PoolingType.LAST_TOKEN, "left"),
]
EMBEDDING = [TextEmbedding, SparseTextEmbedding, LateInteractionTextEmbedding]
FACADES = [*EMBEDDING, TextCrossEncoder]

Folder = Callable[[str], Path]


@pytest.fixture(autouse=True)
def clean_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Added models are known to the whole process: here, to one test."""
    monkeypatch.setattr(catalog, "_custom_cards", {})
    monkeypatch.setattr(CustomTextEmbedding, "SUPPORTED_MODELS", [])
    monkeypatch.setattr(CustomTextEmbedding, "POSTPROCESSING_MAPPING", {})
    monkeypatch.setattr(CustomTextCrossEncoder, "SUPPORTED_MODELS", [])


def add(facade: Any, name: str = NAME, sources: Any = SOURCE, **facts: Any) -> None:
    """Add a model with what its facade cannot do without."""
    needed: dict[Any, dict[str, Any]] = {
        TextEmbedding: {"pooling": "mean", "normalization": True, "dim": 16},
        LateInteractionTextEmbedding: {"dim": 16},
    }
    facade.add_custom_model(name, sources=sources, **{**needed.get(facade, {}), **facts})


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(("pooling", "side"), POOLINGS)
def test_synthetic_dense_model_pools_as_fastembed_does(
    pooling: PoolingType, normalize: bool, side: Any, tmp_path: Path
) -> None:
    head = heads.pooled if pooling is PoolingType.DISABLED else heads.tokens
    build_network(tmp_path, Plan(head, padding_side=side))
    facts = {"pooling": pooling, "normalization": normalize, "sources": SOURCE, "dim": 16}
    TextEmbedding.add_custom_model(NAME, **facts)
    FastembedDense.add_custom_model(NAME, **facts)
    ours = TextEmbedding(NAME, specific_model_path=tmp_path, cuda=False)
    reference = FastembedDense(NAME, specific_model_path=str(tmp_path), cuda=False)
    np.testing.assert_allclose(list(ours.embed(ODD_TEXTS)), list(reference.embed(ODD_TEXTS, batch_size=8)), atol=1e-5)
    assert ours.embedding_size == reference.embedding_size == 16


@pytest.mark.parametrize("name", ["last_hidden_state", "sentence_embedding"])
def test_synthetic_dense_model_takes_an_output_by_name_as_fastembed_does(name: str, tmp_path: Path) -> None:
    build_network(tmp_path, Plan(heads.two_outputs), model_file="weights/own.onnx")
    pooling = PoolingType.MEAN if name == "last_hidden_state" else PoolingType.DISABLED
    facts = {"pooling": pooling, "normalization": False, "sources": SOURCE, "dim": 16, "output_name": name}
    for facade in (TextEmbedding, FastembedDense):
        facade.add_custom_model(NAME, model_file="weights/own.onnx", **facts)
    ours = TextEmbedding(NAME, specific_model_path=tmp_path, cuda=False)
    reference = FastembedDense(NAME, specific_model_path=str(tmp_path), cuda=False)
    np.testing.assert_allclose(list(ours.embed(ODD_TEXTS)), list(reference.embed(ODD_TEXTS, batch_size=8)), atol=1e-5)


def test_synthetic_reranker_scores_as_fastembed_does(tmp_path: Path) -> None:
    build_network(tmp_path, Plan(heads.score))
    for facade in (TextCrossEncoder, FastembedReranker):
        facade.add_custom_model(NAME, SOURCE, description="mine", license="mit", size_in_gb=0.1)
    ours = TextCrossEncoder(NAME, specific_model_path=tmp_path, cuda=False)
    reference = FastembedReranker(NAME, specific_model_path=str(tmp_path), cuda=False)
    expected = list(reference.rerank("the river bank", ODD_TEXTS, batch_size=8))
    np.testing.assert_allclose(list(ours.rerank("the river bank", ODD_TEXTS)), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["colbert-ir/colbertv2.0", "jinaai/jina-colbert-v2", "lightonai/mLateOn"])
def test_synthetic_late_interaction_options_make_the_catalogs_models(name: str, synthetic_model: Folder) -> None:
    card = find_card(name)
    add(LateInteractionTextEmbedding, dim=card.dim, model_file=card.model_file, options=card.options)
    options = {"specific_model_path": synthetic_model(name), "cuda": False}
    mine, known = LateInteractionTextEmbedding(NAME, **options), LateInteractionTextEmbedding(name, **options)
    assert mine.embed_arrow(ODD_TEXTS).equals(known.embed_arrow(ODD_TEXTS))
    assert mine.embed_queries_arrow(ODD_TEXTS).equals(known.embed_queries_arrow(ODD_TEXTS))


def test_synthetic_late_interaction_without_options_gives_every_tokens_unit_vector(tmp_path: Path) -> None:
    build_network(tmp_path)
    add(LateInteractionTextEmbedding, sources=tmp_path)
    model = LateInteractionTextEmbedding(NAME, cuda=False)
    (matrix,) = model.embed("bat, cave!")
    assert matrix.shape == (6, 16)
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "name", "facts"),
    [
        ("splade", "prithivida/Splade_PP_en_v1", {"output_name": "logits"}),
        ("neural_sparse", "opensearch-project/opensearch-neural-sparse-encoding-doc-v3-gte", {}),
        ("bm42", "Qdrant/bm42-all-minilm-l6-v2-attentions", {"output_name": "attention_6"}),
        ("minicoil", "Qdrant/minicoil-v1", {"options": {"language": "english"}}),
    ],
)
def test_synthetic_sparse_families_make_the_catalogs_models(
    family: Any, name: str, facts: dict[str, Any], synthetic_model: Folder
) -> None:
    add(SparseTextEmbedding, family=family, model_file=find_card(name).model_file, **facts)
    options = {"specific_model_path": synthetic_model(name), "cuda": False}
    mine, known = SparseTextEmbedding(NAME, **options), SparseTextEmbedding(name, **options)
    assert mine.embed_arrow(ODD_TEXTS).equals(known.embed_arrow(ODD_TEXTS))
    assert mine.embed_queries_arrow(ODD_TEXTS).equals(known.embed_queries_arrow(ODD_TEXTS))
    assert mine.spec == known.spec


@pytest.mark.parametrize("facade", FACADES)
def test_added_models_are_listed_last_and_found_in_any_letter_case(facade: Any, tmp_path: Path) -> None:
    before = facade.list_supported_models()
    add(facade, sources={"hf": "someone/else"}, license="cc-by-nc-4.0", size_in_gb=0.5, additional_files=["a.txt"])
    *others, row = facade.list_supported_models()
    assert others == before
    assert (row["model"], row["sources"]["hf"], row["size_in_GB"]) == (NAME, "someone/else", 0.5)
    assert (row["additional_files"], row["commercial_use"]) == (["a.txt"], False)
    with pytest.raises(ModelFilesError, match=r"lacks onnx/model\.onnx"):
        facade(NAME.upper(), specific_model_path=tmp_path)


@pytest.mark.parametrize(
    ("facade", "name"),
    [
        *((facade, name) for facade in EMBEDDING for name in ("BAAI/BGE-small-EN", "qdrant/BM25", "Tests/MINE")),
        *((TextCrossEncoder, name) for name in ("xenova/MS-marco-minilm-l-6-v2", "Tests/MINE")),
    ],
)
def test_names_that_are_taken_are_refused_in_any_letter_case(facade: Any, name: str) -> None:
    add(TextCrossEncoder, "tests/mine")
    add(LateInteractionTextEmbedding, "tests/mine")
    with pytest.raises(ValueError, match="is there already; choose another name"):
        add(facade, name)


def test_one_name_is_an_embedding_model_and_a_reranker_as_with_fastembed(tmp_path: Path) -> None:
    folders = {}
    for kind, head in (("tokens", heads.tokens), ("score", heads.score)):
        folders[kind] = build_network(tmp_path / kind, Plan(head))
    facts = ("onnx/model.onnx", "mine", "mit", 0.1, [])
    for dense, reranker in ((TextEmbedding, TextCrossEncoder), (FastembedDense, FastembedReranker)):
        reranker.add_custom_model(NAME, SOURCE, *facts)
        dense.add_custom_model(NAME, PoolingType.MEAN, True, SOURCE, 16, *facts, "last_hidden_state")
    embedder = TextEmbedding(NAME, specific_model_path=folders["tokens"], cuda=False)
    expected = FastembedDense(NAME, specific_model_path=str(folders["tokens"]), cuda=False)
    np.testing.assert_allclose(next(embedder.embed("bat")), next(iter(expected.embed("bat"))), atol=1e-5)
    ranker = TextCrossEncoder(NAME, specific_model_path=folders["score"], cuda=False)
    reference = FastembedReranker(NAME, specific_model_path=str(folders["score"]), cuda=False)
    assert list(ranker.rerank("bat", ["cave"])) == pytest.approx(list(reference.rerank("bat", ["cave"])), abs=1e-5)
    assert make_embedder(NAME, specific_model_path=folders["tokens"], cuda=False).spec.kind == "dense"
    for facade in (TextEmbedding, TextCrossEncoder):
        row = facade.list_supported_models()[-1]
        assert (row["model"], row["description"], row["license"], row["size_in_GB"]) == (NAME, "mine", "mit", 0.1)


@pytest.mark.parametrize("facade", FACADES)
@pytest.mark.parametrize("sources", [{}, {"git": "x"}, {"hf": ""}, 7], ids=str)
def test_sources_that_name_no_place_are_refused(facade: Any, sources: Any) -> None:
    with pytest.raises(ValueError, match="sources must name a path, hf"):
        add(facade, sources=sources)


def test_facts_that_there_are_not_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="pooling must be one of cls, mean, last_token, none, got 'max'"):
        add(TextEmbedding, pooling="max")
    with pytest.raises(ValueError, match="family must be splade, neural_sparse, bm42 or minicoil, got 'bm25'"):
        add(SparseTextEmbedding, family="bm25")
    with pytest.raises(TypeError, match="a card has no 'promts'"):
        add(TextEmbedding, promts={})
    with pytest.raises(ValueError, match="model needs a name"):
        add(TextEmbedding, " ")
    with pytest.raises(ModelNotFoundError, match=f"model '{NAME}' is not in the catalog"):
        TextEmbedding(NAME)


TWO_OUTPUTS = r"last_hidden_state \(batch, sequence, 16\), sentence_embedding \(batch, 16\)"
MISTAKES: list[tuple[Any, dict[str, Any], str]] = [
    (TextEmbedding, {"pooling": "none"}, rf"pooling 'none' takes \(texts, dim\).*{TWO_OUTPUTS}"),
    (TextEmbedding, {"output_name": "sentence_embedding"}, rf"pooling 'mean' takes .*{TWO_OUTPUTS}"),
    (TextEmbedding, {"dim": 8}, rf"gives 16 numbers, and dim says 8.*{TWO_OUTPUTS}"),
    (TextEmbedding, {"output_name": "pooled"}, "no output 'pooled'; its outputs are last_hidden_state, sentence"),
    (TextEmbedding, {"model_file": "model.onnx"}, r"lacks model\.onnx; it holds .*onnx/own\.onnx"),
    (LateInteractionTextEmbedding, {"dim": 8}, rf"gives 16 numbers, and dim says 8.*{TWO_OUTPUTS}"),
    (LateInteractionTextEmbedding, {"output_name": "sentence_embedding"}, rf"takes token vectors.*{TWO_OUTPUTS}"),
    (
        LateInteractionTextEmbedding,
        {"options": {"query_markr": 1}},
        "no option 'query_markr'; it has query_marker, document_marker",
    ),
    (
        LateInteractionTextEmbedding,
        {"options": {"query_length": 31, "mask_token": "<m>"}},
        "the tokenizer has no '<m>'",
    ),
    (SparseTextEmbedding, {"output_name": "sentence_embedding"}, rf"SPLADE takes logits.*{TWO_OUTPUTS}"),
    (SparseTextEmbedding, {"family": "bm42"}, rf"BM42 takes attention.*{TWO_OUTPUTS}"),
    (SparseTextEmbedding, {"family": "minicoil"}, r"minicoil\.triplet\.model"),
    (SparseTextEmbedding, {"family": "neural_sparse"}, r"idf\.json"),
    (TextCrossEncoder, {}, rf"a reranker takes scores.*{TWO_OUTPUTS}"),
    (TextCrossEncoder, {"output_name": "score"}, "no output 'score'; its outputs are"),
]


@pytest.mark.parametrize(("facade", "facts", "message"), MISTAKES)
def test_mistakes_are_named_when_the_synthetic_model_is_loaded(
    facade: Any, facts: dict[str, Any], message: str, tmp_path: Path
) -> None:
    build_network(tmp_path, Plan(heads.two_outputs), model_file="onnx/own.onnx")
    add(facade, sources=tmp_path, **{"model_file": "onnx/own.onnx", **facts})
    with pytest.raises(ValueError, match=message):
        facade(NAME, cuda=False)


@pytest.mark.parametrize(("family", "options"), [("splade", {"langage": "german"}), ("bm42", {"langage": "german"})])
def test_options_of_sparse_models_that_there_are_not_are_named(
    family: Any, options: dict[str, str], synthetic_model: Folder
) -> None:
    name = {"splade": "prithivida/Splade_PP_en_v1", "bm42": "Qdrant/bm42-all-minilm-l6-v2-attentions"}[family]
    output = {"splade": "logits", "bm42": "attention_6"}[family]
    add(SparseTextEmbedding, family=family, model_file="model.onnx", output_name=output, options=options)
    with pytest.raises(ValueError, match="langage"):
        SparseTextEmbedding(NAME, specific_model_path=synthetic_model(name), cuda=False)


def test_synthetic_models_of_a_folder_have_prompts_and_sizes_of_their_own(tmp_path: Path) -> None:
    build_network(tmp_path)
    facts = {"prompts": {"query": "find: "}, "matryoshka": (4, 8)}
    add(TextEmbedding, sources=str(tmp_path), normalization=False, **facts)
    model = make_embedder(NAME, prompts="auto", dim=4, cuda=False)
    assert len(model.embed_arrow(["hello"])[0]) == 4
    plain = TextEmbedding(NAME, cuda=False, dim=4)
    (expected,) = plain.embed("find: hello")
    np.testing.assert_allclose(model.embed_queries_arrow(["hello"])[0].as_py(), expected, atol=1e-6)
