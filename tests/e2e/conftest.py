from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from stdlib_corpus import stdlib_rows as rows_of_stdlib


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """What drives a test's jobs: this process, or the tests' Ray where a test is marked ON_RAY or ON_BOTH."""
    kind: str = getattr(request, "param", "local")
    if kind == "ray":
        request.getfixturevalue("ray_local")
    return kind


@pytest.fixture(scope="session")
def stdlib_rows() -> list[dict[str, Any]]:
    """Docstrings of the standard library that runs the tests, those of its first modules."""
    return list(islice(rows_of_stdlib(), 1200))


@pytest.fixture(scope="session")
def docstrings(stdlib_rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Forty of them, none so long that it takes a model a while."""
    short = [row for row in stdlib_rows if len(row["text"]) < 600]
    return short[:: len(short) // 40][:40]
