"""HybridTextEmbedding and the classes of one kind, on a synthetic BGE-M3: the same vectors, by one call or by each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedders import (
    HybridTextEmbedding,
    LateInteractionTextEmbedding,
    ModelFilesError,
    Muvera,
    SparseTextEmbedding,
    TextEmbedding,
)
from embedders.catalog import catalog, find_card
from embedders.several_vectors import SeveralVectors
from tests.embedders.texts import ODD_TEXTS
from tests.synthetic_graphs import M3
from tests.synthetic_models import MULTILINGUAL, Plan, build_network

MODEL = "BAAI/bge-m3"
ALL = ("dense", "sparse", "multivector")
OTHERS = {TextEmbedding: "dense", SparseTextEmbedding: "sparse", LateInteractionTextEmbedding: "multivector"}


@pytest.fixture
def options(synthetic_model: Callable[[str], Path]) -> dict[str, Any]:
    return {"specific_model_path": synthetic_model(MODEL), "cuda": False, "threads": 1}


@pytest.fixture(autouse=True)
def clean_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Added models are known to the whole process: here, to one test."""
    monkeypatch.setattr(catalog, "_custom_cards", {})


def test_synthetic_vectors_are_those_that_each_class_gives_alone(options: dict[str, Any]) -> None:
    texts = [*ODD_TEXTS, "the river bank", "the river bank"]
    hybrid = HybridTextEmbedding("baai/BGE-M3", outputs=ALL, **options)
    for embed in ("embed", "passage_embed", "query_embed"):
        together = list(getattr(hybrid, embed)(texts))
        alone = [getattr(facade(MODEL, **options), embed)(texts) for facade in OTHERS]
        for one, dense, sparse, tokens in zip(together, *alone, strict=True):
            np.testing.assert_allclose(one.dense, dense, atol=2e-6)
            assert one.sparse is not None and one.sparse.as_dict() == pytest.approx(sparse.as_dict(), abs=2e-6)
            np.testing.assert_allclose(one.multivector, tokens, atol=2e-6)
            assert one.dense is not None and one.multivector is not None
            assert one.dense.flags.writeable and one.multivector.flags.writeable and one.sparse.values.flags.writeable


def test_synthetic_dense_and_sparse_vectors_are_made_unless_others_are_asked_for(options: dict[str, Any]) -> None:
    (one,) = HybridTextEmbedding(MODEL, **options).embed("the river bank")
    assert one.dense is not None and one.sparse is not None and one.multivector is None
    (tokens,) = HybridTextEmbedding(MODEL, outputs=["multivector"], dtype="float16", **options).embed("the river bank")
    assert tokens.dense is None and tokens.sparse is None
    assert tokens.multivector is not None and tokens.multivector.dtype == np.float16


def test_synthetic_columns_have_a_field_a_vector(options: dict[str, Any]) -> None:
    hybrid = HybridTextEmbedding(MODEL, outputs=ALL, **options)
    for column in (hybrid.embed_arrow(["bat", "a cave"]), hybrid.embed_queries_arrow(["bat", "a cave"])):
        assert {field.name: field.type for field in column.type} == {
            kind: spec.arrow_type for kind, spec in hybrid.specs.items()
        }
    for facade, kind in OTHERS.items():
        alone: Any = facade(MODEL, **options)  # type: ignore[abstract]
        assert alone.fingerprint == hybrid.fingerprints[kind] and alone.spec == hybrid.specs[kind]
    assert isinstance(hybrid.model, SeveralVectors)
    assert hybrid.token_count(["bat", "a cave"]) == 7 and hybrid.stats.rows == 4
    assert hybrid.providers == ["CPUExecutionProvider"]


def test_synthetic_classes_of_one_kind_have_their_sizes(options: dict[str, Any]) -> None:
    assert TextEmbedding(MODEL, **options).dim == TextEmbedding.get_embedding_size(MODEL) == 1024
    tokens = LateInteractionTextEmbedding(MODEL, **options)
    assert tokens.dim == LateInteractionTextEmbedding.get_embedding_size(MODEL) == 1024
    assert tokens.token_count(["bat"], is_doc=False, include_extension=True) == 3
    assert len(tokens.embed_tokens(["bat", "bat"])) == 2 and TextEmbedding(MODEL, **options).embed_array([]).size == 0
    assert Muvera.from_embedder(tokens, k_sim=2, dim_proj=4, r_reps=2).embedding_size == 2 * 4 * 4
    assert SparseTextEmbedding(MODEL, **options).spec.idf is False


@pytest.mark.parametrize("facade", OTHERS)
def test_classes_of_one_kind_refuse_others(facade: Any, options: dict[str, Any]) -> None:
    kind = OTHERS[facade]
    assert facade(MODEL, outputs=[kind], **options).spec.kind == kind
    with pytest.raises(ValueError, match=f"outputs: only {kind} vectors are made here; .*HybridTextEmbedding"):
        facade(MODEL, outputs=["dense", "sparse"], **options)
    with pytest.raises(TypeError, match="'Qdrant/bm25' takes no 'outputs'"):
        SparseTextEmbedding("Qdrant/bm25", outputs=["sparse"])


def test_models_that_give_one_kind_are_no_hybrids() -> None:
    with pytest.raises(ValueError, match=r"'BAAI/bge-small-en-v1\.5' is not in the catalog"):
        HybridTextEmbedding("BAAI/bge-small-en-v1.5")
    with pytest.raises(TypeError, match="HybridTextEmbedding needs a model_name"):
        HybridTextEmbedding()
    with pytest.raises(ValueError, match="outputs must be a list of some of dense, sparse, multivector"):
        HybridTextEmbedding(MODEL, outputs=["colbert"])


def test_batch_size_below_one_is_refused_at_once(options: dict[str, Any]) -> None:
    hybrid = HybridTextEmbedding(MODEL, lazy_load=True, **options)
    for embed in (hybrid.embed, hybrid.query_embed, hybrid.passage_embed):
        with pytest.raises(ValueError, match="batch_size must be 1 or more, got 0"):
            embed(["a"], batch_size=0)


@pytest.mark.parametrize(("outputs", "ahead"), [(("dense", "sparse"), 1024), (ALL, 128)])
def test_synthetic_endless_texts_are_read_ahead_and_fewer_where_token_vectors_are_made(
    outputs: tuple[str, ...], ahead: int, options: dict[str, Any]
) -> None:
    read = []

    def endless() -> Iterator[str]:
        while True:
            read.append(len(read))
            yield "the river bank"

    hybrid = HybridTextEmbedding(MODEL, outputs=outputs, **options)
    assert len(list(islice(hybrid.embed(endless()), 10))) == 10
    assert len(read) == ahead


def test_synthetic_users_models_are_found_by_every_class(tmp_path: Path) -> None:
    build_network(tmp_path, Plan(M3(("d", "s", "c")), **MULTILINGUAL), model_file="own.onnx", dim=24)
    names = {"dense": "d", "sparse": "s", "multivector": "c"}
    HybridTextEmbedding.add_custom_model("tests/mine", tmp_path, dim=24, options={"graph_outputs": names})
    assert HybridTextEmbedding.list_supported_models()[-1]["model"] == "tests/mine"
    hybrid = HybridTextEmbedding("tests/mine", cuda=False, outputs=ALL)
    column = hybrid.embed_arrow(["bat"])
    for facade, kind in OTHERS.items():
        alone: Any = facade("tests/MINE", cuda=False)  # type: ignore[abstract]
        assert alone.embed_arrow(["bat"]).equals(column.field(kind))
    HybridTextEmbedding.add_custom_model("tests/other", tmp_path)
    with pytest.raises(ModelFilesError, match="output 'd' gives 24 numbers, and its card says 1024"):
        HybridTextEmbedding("tests/other", cuda=False)
    with pytest.raises(ValueError, match="is there already; choose another name"):
        HybridTextEmbedding.add_custom_model("Tests/Mine", tmp_path)
    for fact in ("pooling", "prompts", "family"):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{fact}'"):
            HybridTextEmbedding.add_custom_model("tests/third", tmp_path, **{fact: "cls"})  # type: ignore[arg-type]
    assert find_card("tests/mine").custom
