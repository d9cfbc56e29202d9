"""Searching a collection with the models that filled it."""

from pipelines.search.hits import Hit, Hits
from pipelines.search.page import Page
from pipelines.search.searcher import Searcher

__all__ = ["Hit", "Hits", "Page", "Searcher"]
