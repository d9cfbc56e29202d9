"""A report that cannot be written any more, once the run is under way: the run ends as its rows did."""

from __future__ import annotations

import io
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from embedders.sparse.bm25 import Bm25
from pipelines.cli.job import run_job
from pipelines.run import watching

Start = Callable[..., tuple[int, str]]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Runs a job whose report's folder becomes a file while rows are embedded; gives its exit code and output."""

    def start(*texts: str | None, **job: Any) -> tuple[int, str]:
        rows = ({"id": f"d{number}", "text": text} for number, text in enumerate(texts))
        (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        folder = tmp_path / "reports"
        real = Bm25.embed_arrow

        def losing(model: Bm25, some: Any) -> Any:
            shutil.rmtree(folder, ignore_errors=True)
            folder.write_text("no folder any more")
            return real(model, some)

        monkeypatch.setattr(Bm25, "embed_arrow", losing)
        config = {
            "source": {"path": str(tmp_path / "in.jsonl"), "id": "id"},
            "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
            "sink": {"type": "parquet", "path": str(tmp_path / "out")},
            "errors": {"max_rate": 1, "path": str(tmp_path / "dead")},
            "compute": {"engine": "local"},
            "report": str(folder / "report.json"),
        }
        (tmp_path / "job.yaml").write_text(json.dumps({**config, **job}))
        text = io.StringIO()
        code = run_job(tmp_path / "job.yaml", (), Console(file=text, width=200))
        return code, text.getvalue()

    return start


LOST = "the report could not be written to"


def test_a_complete_run_ends_with_0_tells_of_it_and_shows_the_summary(start: Start, tmp_path: Path) -> None:
    code, output = start("one", "two")
    assert code == 0
    assert f"{LOST} {tmp_path}/reports/report.json: File exists" in output
    assert "complete in" in output and "parquet: 2 points" in output


def test_a_run_with_dead_letters_ends_with_3(start: Start) -> None:
    code, output = start("one", None)
    assert code == 3 and LOST in output and "text is null" in output


def test_the_error_that_ended_a_run_is_told(start: Start, tmp_path: Path) -> None:
    code, output = start("one", None, errors={"max_rate": 0, "path": str(tmp_path / "dead")})
    assert code == 1 and LOST in output
    assert "more than errors.max_rate 0 allows" in output and "failed in" in output


def test_a_run_that_lost_its_report_while_it_went_on_says_so_once_and_goes_on(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watching, "SECONDS_BETWEEN_LOOKS", 0.001)
    with caplog.at_level(logging.WARNING, "fleetembed"):
        code, _ = start(*map(str, range(3000)), compute={"engine": "local", "block_rows": 8})
    assert code == 0
    assert sum("; the run goes on" in message for message in caplog.messages) == 1


class Gone(io.StringIO):
    """A terminal that went away."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


def test_a_terminal_that_went_away_costs_neither_rows_nor_report(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"id": "a", "text": "one"}\n')
    config = {
        "source": {"path": str(tmp_path / "in.jsonl"), "id": "id"},
        "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
        "sink": {"type": "parquet", "path": str(tmp_path / "out")},
        "compute": {"engine": "local"},
        "report": str(tmp_path / "report.json"),
    }
    (tmp_path / "job.yaml").write_text(json.dumps(config))
    assert run_job(tmp_path / "job.yaml", (), Console(file=Gone(), force_terminal=True)) == 0
    assert json.loads((tmp_path / "report.json").read_text())["status"] == "complete"
