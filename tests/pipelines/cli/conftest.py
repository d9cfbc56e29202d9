"""Fixtures that tests of the command line share with those of searching."""

from tests.pipelines.search.conftest import copied, filled, searcher

__all__ = ["copied", "filled", "searcher"]
