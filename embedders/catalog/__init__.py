"""Model facts: one JSON file a family, read as ModelCards."""

from embedders.catalog.catalog import (
    ModelCard,
    Pooling,
    add_card,
    describe,
    families,
    find_card,
    is_half,
    list_cards,
    load_cards,
    quantized_card,
)
from embedders.catalog.custom import custom_card

__all__ = [
    "ModelCard",
    "Pooling",
    "add_card",
    "custom_card",
    "describe",
    "families",
    "find_card",
    "is_half",
    "list_cards",
    "load_cards",
    "quantized_card",
]
