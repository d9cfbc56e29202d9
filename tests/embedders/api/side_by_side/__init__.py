"""Calls of fastembed's public surface, made of its classes and of this project's: over all classes, by name."""

from __future__ import annotations

from tests.embedders.api.side_by_side.construction import catalog_calls, constructor_calls
from tests.embedders.api.side_by_side.custom_models import custom_model_calls
from tests.embedders.api.side_by_side.images import image_calls, multimodal_calls
from tests.embedders.api.side_by_side.library import Call
from tests.embedders.api.side_by_side.texts import query_calls, reranker_calls, text_calls
from tests.embedders.api.side_by_side.values import muvera_calls, name_calls, sparse_vector_calls


def all_calls() -> list[Call]:
    """Every call, each name once."""
    calls = [
        *text_calls(),
        *query_calls(),
        *reranker_calls(),
        *image_calls(),
        *multimodal_calls(),
        *constructor_calls(),
        *catalog_calls(),
        *custom_model_calls(),
        *sparse_vector_calls(),
        *muvera_calls(),
        *name_calls(),
    ]
    assert len({call.name for call in calls}) == len(calls)
    return calls
