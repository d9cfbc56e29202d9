"""The Python of the documentation compiles, and what stands behind the comment ``<!-- run -->`` runs.

Blocks of a page run one after the other, in a folder that has what the quickstart leaves: its model, and a corpus.
"""

from __future__ import annotations

import inspect
import json
import string
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.docs.pages import Block, all_blocks

BLOCKS = all_blocks("python", "py")
RUN = [block for block in BLOCKS if block.mark == "run"]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_it_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec")


@pytest.fixture
def quickstart(
    tmp_path: Path, minilm: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Path]:
    """A working folder as the quickstart leaves it, with docstrings of some classes as corpus."""
    models = tmp_path / "quickstart" / "models"
    models.mkdir(parents=True)
    (models / "all-MiniLM-L6-v2").symlink_to(minilm)
    parts = [vars(kind) for kind in (threading.Thread, threading.Condition, string.Template, str, dict, Path)]
    texts = {
        f"doc.{number}.{name}": inspect.getdoc(value)
        for number, part in enumerate(parts)
        for name, value in part.items()
    }
    rows = [{"id": name, "text": text, "kind": "function", "module": "m"} for name, text in texts.items() if text]
    (tmp_path / "quickstart" / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    # Whatever Ray a page started stays, and other tests do without it.
    alone = not request.node.get_closest_marker("ray")
    if alone and (ray := sys.modules.get("ray")) is not None and ray.is_initialized():
        ray.shutdown()


def pages() -> Iterator[Any]:
    """Pages with blocks that run; those that use Ray directly are given the tests' own."""
    for page in sorted({block.page for block in RUN}):
        uses_ray = any("import ray" in block.text for block in RUN if block.page == page)
        yield pytest.param(page, marks=[pytest.mark.ray] if uses_ray else [])


@pytest.mark.parametrize("page", list(pages()))
def test_it_runs(page: str, quickstart: Path, request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("ray"):
        request.getfixturevalue("ray_local")
    names: dict[str, Any] = {"__name__": "documentation"}
    for block in RUN:
        if block.page == page:
            # Lines of a traceback are those of the page.
            source = "\n" * block.line + textwrap.dedent(block.text)
            exec(compile(source, str(ROOT / page), "exec"), names)


def test_some_of_it_runs() -> None:
    assert len({block.page for block in RUN}) >= 3
