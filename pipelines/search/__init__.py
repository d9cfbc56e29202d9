"""Searching a collection with the models that filled it."""

from pipelines.search.hits import Hit
from pipelines.search.page import Page
from pipelines.search.searcher import Searcher

__all__ = ["Hit", "Page", "Searcher"]
