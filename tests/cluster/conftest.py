"""Clusters of several nodes, started by need and shared by the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.nodes import Nodes, cluster


@pytest.fixture(scope="module")
def head() -> Iterator[Nodes]:
    """A cluster whose head has one CPU; tests add nodes to it, and take away what they added."""
    with cluster(num_cpus=1) as nodes:
        yield nodes
