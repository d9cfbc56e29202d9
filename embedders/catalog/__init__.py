"""Model facts: one JSON file a family, read as ModelCards."""

from embedders.catalog.catalog import ModelCard, Pooling, families, find_card, load_cards

__all__ = ["ModelCard", "Pooling", "families", "find_card", "load_cards"]
