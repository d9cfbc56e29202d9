"""What families tell of themselves is true of their classes and of the catalog."""

from __future__ import annotations

from dataclasses import fields

import pytest

import embedders
from embedders.catalog import ModelCard, families, load_cards
from embedders.families import FAMILIES, custom_families, families_of, families_of_several

FACADES = (
    embedders.TextEmbedding,
    embedders.SparseTextEmbedding,
    embedders.LateInteractionTextEmbedding,
    embedders.HybridTextEmbedding,
    embedders.TextCrossEncoder,
    embedders.ImageEmbedding,
    embedders.LateInteractionMultimodalEmbedding,
)


def test_every_family_has_a_class_and_cards_in_the_catalog() -> None:
    assert sorted(FAMILIES) == list(families())
    for name, family in FAMILIES.items():
        assert load_cards(name)
        assert hasattr(family.load_class(), "load")


def test_every_family_belongs_to_one_public_class_or_to_one_a_kind_and_that_of_several() -> None:
    for name, family in FAMILIES.items():
        own = [facade for facade in FACADES if name in facade.FAMILIES]
        assert len(own) == (len(family.kinds) + 1 if family.gives_several else 1)
        assert (embedders.HybridTextEmbedding in own) is family.gives_several
        assert {facade.KIND for facade in own if facade.KIND is not None} <= set(family.kinds)
    assert {name for facade in FACADES for name in facade.FAMILIES} == FAMILIES.keys()


def test_of_several_vectors_some_are_chosen_in_the_familys_order() -> None:
    family = FAMILIES["bge_m3"]
    assert family.kinds == ("dense", "sparse", "multivector")
    assert family.chosen(None) == ("dense", "sparse")
    assert family.chosen(["multivector", "dense"]) == ("dense", "multivector")
    assert FAMILIES["splade"].chosen(None) == ("sparse",)
    for wrong in ([], "dense", ["dense", "dense"], ["dense", "scores"], [["dense"]], {"dense": 1}, 3):
        with pytest.raises(ValueError, match="outputs must be a list of some of dense, sparse, multivector, each once"):
            family.chosen(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", custom_families())
def test_facts_of_custom_models_are_fields_of_cards(name: str) -> None:
    custom = custom_families()[name]
    assert set(custom.facts) <= {field.name for field in fields(ModelCard)}
    assert custom.required.keys() <= set(custom.facts)
    assert not custom.requires_idf or "requires_idf" in custom.facts


def test_families_are_told_by_kind_with_some_before_others() -> None:
    assert families_of("dense") == ("dense", "static", "bge_m3")
    assert families_of("dense", images=True) == ("image",)
    assert families_of("sparse", first=("bm42",)) == ("bm42", "bm25", "splade", "neural_sparse", "minicoil", "bge_m3")
    assert families_of_several() == ("bge_m3",)
    assert list(custom_families("sparse")) == ["splade", "neural_sparse", "bm42", "minicoil"]
