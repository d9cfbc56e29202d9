"""The site is made without a warning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import site_source
from tests.conftest import ROOT
from tests.docs.pages import DOCS

pytest.importorskip("sphinx", reason="needs the extra docs")


@pytest.mark.slow
def test_every_page_is_made_and_reached_and_every_reference_resolves(tmp_path: Path) -> None:
    options = ("--fail-on-warning", "--keep-going", "--nitpicky", "--quiet", "-b", "html")
    command = [sys.executable, "-m", "sphinx", *options, "-d", tmp_path / "doctrees", DOCS, tmp_path / "site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}
    made = {page for page in pages if (tmp_path / "site" / f"{page}.html").is_file()}
    assert made == pages
    # Each of these is made of code or of another file, and so would be empty without a warning.
    for page, told in (
        ("reference/job", "block_rows"),
        ("reference/commands", "--rrf-k"),
        ("reference/python", "query_embed"),
        ("about/architecture", "Stages and engines"),
    ):
        assert told in (tmp_path / "site" / f"{page}.html").read_text(encoding="utf-8")


def test_each_page_belongs_to_one_index() -> None:
    listed = [page for pages in site_source.contents().values() for page in pages]
    assert len(listed) == len(set(listed))
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert set(listed) == pages - {"index.md"}
