"""The command that searches, as it is called."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipelines.search import Searcher
from tests.conftest import ROOT
from tests.pipelines.search.conftest import DOCUMENTS, Collection
from tests.waiting import SECONDS

pytestmark = pytest.mark.slow


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    called = [sys.executable, str(ROOT / "jobs" / "search.py"), *arguments]
    return subprocess.run(called, capture_output=True, text=True, timeout=SECONDS)


@pytest.fixture
def opened(copied: Collection) -> list[str]:
    return ["--path", copied.address["path"], "--collection", copied.address["collection"]]


def test_a_staged_search_prints_hits_as_json(opened: list[str]) -> None:
    ways = ["--using", "dense,colbert", "--weights", "1,2", "--rescore", "colbert_multivector", "--filter", "lang=en"]
    done = command(*opened, "venomous snakes", *ways, "--json", "-n", "2", "--payload", "year,lang")
    assert done.returncode == 0, done.stderr
    hits: list[dict[str, Any]] = json.loads(done.stdout)
    assert [hit["payload"]["document_id"] for hit in hits] == ["cobra", "python"]
    assert hits[1]["payload"] == {"document_id": "python", "year": 2001, "lang": "en"}


def test_k_of_a_fusion_is_an_option(opened: list[str], searcher: Searcher) -> None:
    done = command(*opened, "venomous snakes", "--using", "dense,bm25", "--rrf-k", "60", "--json", "-n", "6")
    assert done.returncode == 0, done.stderr
    expected = searcher.search("venomous snakes", ["dense", "bm25"], 6, rrf_k=60)
    assert {hit["id"]: hit["score"] for hit in json.loads(done.stdout)} == {hit.id: hit.score for hit in expected}
    refused = command(*opened, "venomous snakes", "--using", "dense,bm25", "--fusion", "dbsf", "--rrf-k", "60")
    assert refused.returncode == 2 and "rrf_k belongs to rrf" in refused.stderr


def test_a_jobs_configuration_opens_its_collection(copied: Collection, tmp_path: Path) -> None:
    config = tmp_path / "job.yaml"
    config.write_text(json.dumps(copied.job))
    done = command("--config", str(config), "snakes", "--way", "staged", "-n", "1", "--payload", "year")
    assert done.returncode == 0, done.stderr
    assert "score" in done.stdout and "year" in done.stdout and "2001" in done.stdout


def test_a_sheet_is_written_beside_the_hits(copied: Collection, tmp_path: Path) -> None:
    config, sheet = tmp_path / "job.yaml", tmp_path / "sheet.html"
    config.write_text(json.dumps(copied.job))
    done = command("--config", str(config), "snakes", "--using", "bm25", "--image-sheet", str(sheet))
    assert done.returncode == 0 and "Pythons are large snakes" in done.stdout, done.stderr
    # These documents have no images.
    assert sheet.read_text(encoding="utf-8").count("no image at hand") == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["x"], 2, "give the job's --config, or a --collection"),
        (["--collection", "docs", "--path", "/nowhere"], 2, "give a text to look for, or --image"),
        (["--collection", "docs", "--path", "/nowhere", " "], 2, "the text to look for is empty"),
        (["--collection", "docs", "--path", "/nowhere", "x"], 1, "there is no folder /nowhere yet"),
        (["--collection", "docs", "--path", "/nowhere", "x", "--weights", "a"], 2, "write numbers with commas"),
        (["--collection", "docs", "--path", "/nowhere", "x", "--model", "dense"], 2, "write VECTOR="),
    ],
    ids=range(6),
)
def test_a_users_error_is_one_message_and_a_code(arguments: list[str], code: int, message: str) -> None:
    app = runpy.run_path(str(ROOT / "jobs" / "search.py"))["app"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == code and message in done.output


def test_every_document_can_be_found(searcher: Searcher) -> None:
    for row in DOCUMENTS:
        assert searcher.search(row["text"], limit=1)[0].title == row["id"]
