"""What families tell of themselves is true of their classes and of the catalog."""

from __future__ import annotations

from dataclasses import fields

import pytest

import embedders
from embedders.catalog import ModelCard, families, load_cards
from embedders.families import FAMILIES, custom_families, families_of

FACADES = (
    embedders.TextEmbedding,
    embedders.SparseTextEmbedding,
    embedders.LateInteractionTextEmbedding,
    embedders.TextCrossEncoder,
    embedders.ImageEmbedding,
    embedders.LateInteractionMultimodalEmbedding,
)


def test_every_family_has_a_class_and_cards_in_the_catalog() -> None:
    assert sorted(FAMILIES) == list(families())
    for name, family in FAMILIES.items():
        assert load_cards(name)
        assert hasattr(family.load_class(), "load")


def test_every_family_belongs_to_one_public_class() -> None:
    assert sorted(name for facade in FACADES for name in facade.FAMILIES) == sorted(FAMILIES)


@pytest.mark.parametrize("name", custom_families())
def test_facts_of_custom_models_are_fields_of_cards(name: str) -> None:
    custom = custom_families()[name]
    assert set(custom.facts) <= {field.name for field in fields(ModelCard)}
    assert custom.required.keys() <= set(custom.facts)
    assert not custom.requires_idf or "requires_idf" in custom.facts


def test_families_are_told_by_kind_with_some_before_others() -> None:
    assert families_of("dense") == ("dense", "static")
    assert families_of("dense", images=True) == ("image",)
    assert families_of("sparse", first=("bm42",)) == ("bm42", "bm25", "splade", "neural_sparse", "minicoil")
    assert list(custom_families("sparse")) == ["splade", "neural_sparse", "bm42", "minicoil"]
