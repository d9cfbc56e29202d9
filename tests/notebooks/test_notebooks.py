"""The notebooks of notebooks/ run, and what is committed of them is what they show."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from execute_notebooks import FOLDER, execute
from tests.conftest import ROOT

PATHS = sorted(FOLDER.glob("*.ipynb"))
MOST_BYTES = 150_000
# Paths of a machine, and words that only a warning has.
NOISE = re.compile(r"/(?:home|root|work|tmp|Users|usr)/|site-packages|Warning|\x1b")


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def noise(notebook: Any) -> list[str]:
    """What of the cells' outputs a reader should not see."""
    said = [output for output in outputs(notebook) if output.get("name") == "stderr" or output.output_type == "error"]
    texts = [text for output in outputs(notebook) for text in (output.get("text"), *output.get("data", {}).values())]
    return [str(output)[:300] for output in said] + [text[:300] for text in texts if text and NOISE.search(str(text))]


def test_there_are_notebooks() -> None:
    assert len(PATHS) == 5


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_what_is_committed_was_run_from_the_top_and_is_small_and_quiet(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    ran = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert ran == list(range(1, len(ran) + 1))
    assert noise(notebook) == []
    assert path.stat().st_size < MOST_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_it_runs(path: Path, minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("jobs", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    models = tmp_path / "quickstart" / "models"
    models.mkdir(parents=True)
    (models / "all-MiniLM-L6-v2").symlink_to(minilm)
    folder = tmp_path / "notebooks"
    folder.mkdir()
    # The kernel is to find this checkout's packages, wherever it is started.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    before = nbformat.read(path, as_version=4)
    after = execute(nbformat.read(path, as_version=4), folder)
    assert noise(after) == []
    assert [kinds(cell) for cell in after.cells] == [kinds(cell) for cell in before.cells]


def kinds(cell: Any) -> list[Any]:
    """What kinds of things a cell shows; the figures of a run are other ones each time."""
    return [sorted(output.get("data", {"text": ""})) for output in cell.get("outputs", [])]
