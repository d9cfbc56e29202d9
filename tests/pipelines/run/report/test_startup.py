"""What a report says of its run's start-up."""

from __future__ import annotations

import io
import json
import logging
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from pipelines import EmbeddingPipeline
from pipelines.run.report import startup as startup_module
from pipelines.run.report.startup import StartUp, process_began
from pipelines.run.tally import FIRST_BLOCK


def job(folder: Path, documents: int) -> dict[str, Any]:
    rows = ({"id": str(number), "text": f"a text of number {number}"} for number in range(documents))
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "source": {"path": str(folder / "in.jsonl"), "id": "id"},
        "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
        "sink": {"type": "parquet", "path": str(folder / "out")},
        "compute": {"engine": "local"},
        "report": str(folder / "report.json"),
    }


def test_the_parts_of_a_start_up_add_up_to_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fleetembed")
    shown = io.StringIO()
    console = Console(file=shown, width=200)
    EmbeddingPipeline.from_config(job(tmp_path, 30)).run(console=console, began=time.monotonic() - 3)
    report = json.loads((tmp_path / "report.json").read_text())
    parts = report["startup"]
    assert list(parts) == ["imports", "checks", "engine", "preparation", "scan", "sinks", "workers", "models"]
    assert 3 <= parts["imports"] < 60
    assert sum(parts.values()) == pytest.approx(report["startup_seconds"], abs=0.1)
    assert report["startup_seconds"] <= report["seconds"]
    assert FIRST_BLOCK not in report["stages"]
    told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in parts.items() if seconds >= 0.05)
    assert f"start-up: {told}\n" in shown.getvalue() and told.startswith(f"imports {parts['imports']:.1f} s")
    assert caplog.messages[:2] == [
        f"start-up: imports took {parts['imports']:.1f} s",
        "looking at 1 model, the source and the sinks",
    ]


def test_a_run_with_nothing_to_do_has_no_worker_and_one_from_a_script_no_imports(tmp_path: Path) -> None:
    EmbeddingPipeline.from_config(job(tmp_path, 3)).run(console=Console(quiet=True))
    EmbeddingPipeline.from_config(job(tmp_path, 3)).run(console=Console(quiet=True))
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["rows"]["skipped"] == 3
    assert list(report["startup"]) == ["checks", "engine", "preparation", "scan", "sinks"]


def test_a_part_that_took_a_while_says_so(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO, "fleetembed")
    clock = iter([12.0, 12.9])
    monkeypatch.setattr(startup_module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    startup = StartUp(10.0)
    startup.end("checks")
    startup.end("scan")
    assert caplog.messages == ["start-up: checks took 2.0 s"]


def test_a_process_knows_when_it_began() -> None:
    began = process_began()
    assert began is None or began < time.monotonic()
