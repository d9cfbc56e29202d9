from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastembed import LateInteractionTextEmbedding as FastembedLateInteraction
from fastembed import SparseTextEmbedding as FastembedSparse
from fastembed import TextEmbedding as FastembedDense
from fastembed.late_interaction.token_embeddings import TokenEmbeddingsModel
from fastembed.rerank.cross_encoder import TextCrossEncoder as FastembedReranker

from embedders import (
    HybridTextEmbedding,
    LateInteractionTextEmbedding,
    SparseTextEmbedding,
    TextCrossEncoder,
    TextEmbedding,
)
from embedders.catalog import find_card, load_cards
from embedders.families import FAMILIES, families_of_several

FACADES = [
    (TextEmbedding, [FastembedDense]),
    (SparseTextEmbedding, [FastembedSparse]),
    (LateInteractionTextEmbedding, [FastembedLateInteraction, TokenEmbeddingsModel]),
    (TextCrossEncoder, [FastembedReranker]),
]
TEXT_FAMILIES = ("dense_text", "sparse_text", "late_interaction_text", "token_embeddings", "cross_encoder")


@pytest.mark.parametrize(("ours", "references"), FACADES, ids=lambda value: getattr(value, "__name__", ""))
def test_supported_models_have_fastembeds_facts(ours: Any, references: list[Any]) -> None:
    # fastembed has no model that gives several vectors.
    rows = [row for row in ours.list_supported_models() if row["family"] not in families_of_several()]
    mine = {row["model"]: row for row in rows}
    theirs = {row["model"]: row for reference in references for row in reference.list_supported_models()}
    assert mine.keys() >= theirs.keys()
    for name, row in theirs.items():
        assert row.keys() <= mine[name].keys()
        same = row.keys() - {"description", "sources"}
        assert {key: mine[name][key] for key in same} == {key: row[key] for key in same}
        assert {key: mine[name]["sources"][key] for key in ("hf", "url")} == {
            key: row["sources"][key] for key in ("hf", "url")
        }


@pytest.mark.parametrize("facade", [TextEmbedding, LateInteractionTextEmbedding])
def test_embedding_sizes_are_found_in_any_letter_case(facade: Any) -> None:
    rows = facade.list_supported_models()
    assert len(rows) > 5
    for row in rows:
        assert facade.get_embedding_size(row["model"].swapcase()) == row["dim"]


def test_every_text_model_of_the_reference_list_has_a_card(shared_data: Path) -> None:
    path = shared_data.parent / "reference" / "fastembed-models.json"
    if not path.is_file():
        pytest.skip(f"needs the list of fastembed's models at {path}")
    rows = [row for row in json.loads(path.read_text())["models"] if row["family"] in TEXT_FAMILIES]
    assert len(rows) == 61
    for row in rows:
        card = find_card(row["model"], among=tuple(FAMILIES))
        assert (card.hf, card.model_file, card.license) == (row["sources"]["hf"], row["model_file"], row["license"])
        assert list(card.additional_files) == row["additional_files"]
        assert card.size_gb == row["size_in_GB"]


def test_models_whose_activations_are_quantized_are_marked() -> None:
    cards = [card for family in FAMILIES for card in load_cards(family)]
    marked = {card.model for card in cards if card.varies_with_batch}
    quantized = {f"nomic-ai/nomic-embed-{kind}-v1.5-Q" for kind in ("text", "vision")}
    assert marked == {*quantized, "BAAI/bge-reranker-v2-m3-int8"}
    for facade, _ in FACADES:
        for row in facade.list_supported_models():
            assert row["batch_invariant"] is (row["model"] not in marked)


def test_every_class_of_a_kind_lists_the_model_that_gives_it_beside_others() -> None:
    for facade in (TextEmbedding, SparseTextEmbedding, LateInteractionTextEmbedding, HybridTextEmbedding):
        (row,) = [row for row in facade.list_supported_models() if row["model"] == "BAAI/bge-m3"]
        assert (row["dim"], row["vocab_size"], row["requires_idf"]) == (1024, 250002, None)
        assert row["additional_files"] == ["model.onnx.data"] and row["license"] == "mit"


def test_licences_that_forbid_commercial_use_are_told() -> None:
    rows = [row for facade, _ in FACADES for row in facade.list_supported_models()]
    forbidden = {row["model"] for row in rows if not row["commercial_use"]}
    assert forbidden == {
        "jinaai/jina-embeddings-v3",
        "jinaai/jina-colbert-v2",
        "jinaai/jina-reranker-v2-base-multilingual",
    }
