from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from terminal.stdlib_corpus import collect_stdlib


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """What drives a test's jobs: this process, or the tests' Ray where a test is marked ON_RAY or ON_BOTH."""
    kind: str = getattr(request, "param", "local")
    if kind == "ray":
        request.getfixturevalue("ray_local")
    return kind


@pytest.fixture(scope="session")
def stdlib_rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Docstrings and help topics of the standard library that runs the tests."""
    path: Path = tmp_path_factory.mktemp("stdlib") / "corpus.jsonl"
    collect_stdlib(path)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def docstrings(stdlib_rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sixty of them, spread over the library."""
    return stdlib_rows[:: len(stdlib_rows) // 60][:60]
