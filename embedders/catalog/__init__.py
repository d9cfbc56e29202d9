"""Model facts: one JSON file a family, read as ModelCards."""

from embedders.catalog.catalog import ModelCard, Pooling, describe, families, find_card, load_cards

__all__ = ["ModelCard", "Pooling", "describe", "families", "find_card", "load_cards"]
