"""A job that is refused because another one runs leaves that one's report alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines import EmbeddingPipeline
from pipelines.errors import SinkError
from pipelines.run.report.report import RunReport
from pipelines.sinks.lease.lease import RunLeases
from pipelines.sinks.parquet.config import ParquetSinkConfig
from pipelines.sinks.parquet.sink import ParquetSink
from tests.pipelines.sinks import rows


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "in.jsonl").write_text('{"text": "one"}\n')
    return {
        "source": {"path": str(tmp_path / "in.jsonl")},
        "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
        "sink": {"type": "parquet", "path": str(tmp_path / "out")},
        "report": str(tmp_path / "report.json"),
        "compute": {"engine": "local"},
    }


def run(job: dict[str, Any]) -> RunReport:
    return EmbeddingPipeline.from_config(job).run(console=Console(quiet=True))


def test_a_refused_jobs_report_does_not_replace_that_of_the_run_that_holds_the_place(
    job: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    sink = ParquetSink(ParquetSinkConfig(type="parquet", path=str(tmp_path / "out")))
    with RunLeases([sink], "the first", "corpus") as leases:
        leases.take(rows.job())
        RunReport("the first", "corpus").save(path)
        running = path.read_bytes()
        with pytest.raises(SinkError, match="is held by run the first of the corpus"):
            run(job)
        assert path.read_bytes() == running
        # Another report tells of the refusal, and so does the same one where it is not that run's.
        for other in (tmp_path / "other.json", path):
            RunReport("one that was killed", "corpus").save(path)
            with pytest.raises(SinkError, match="is held by run the first of the corpus"):
                run(job | {"report": str(other)})
            found = json.loads(other.read_text())
            assert found["status"] == "failed" and "is held by run the first" in found["error"]


def test_a_report_of_a_run_that_was_killed_is_replaced_by_the_next(job: dict[str, Any], tmp_path: Path) -> None:
    RunReport("killed", "corpus").save(tmp_path / "report.json")
    assert run(job).exit_code == 0
    assert json.loads((tmp_path / "report.json").read_text())["status"] == "complete"
