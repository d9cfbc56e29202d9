"""Searching a collection with the models that filled it."""

from pipelines.search.hits import Hit
from pipelines.search.searcher import Searcher
from pipelines.search.show import show_answers, show_hits

__all__ = ["Hit", "Searcher", "show_answers", "show_hits"]
