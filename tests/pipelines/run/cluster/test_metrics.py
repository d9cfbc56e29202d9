"""A job's metrics: as Ray's port gives them, and what each stage's figures add to them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.run.cluster.metrics import COUNTERS, GAUGES, JobMetrics, SinkQueue, increments, source_of
from pipelines.run.tally import Tally
from tests.conftest import ROOT
from tests.e2e.jobs import Job
from tests.waiting import SECONDS

ROWS = 40


@pytest.mark.ray
def test_rays_metrics_port_gives_what_the_reports_tell(tmp_path: Path, minilm: Path) -> None:
    sinks = [{"type": "parquet", "path": str(tmp_path / "vectors")}]
    job = Job(tmp_path, minilm, sinks, engine="ray", extra={"errors": {"path": str(tmp_path / "dead"), "max_rate": 1}})
    rows = [{"id": str(number), "text": f"document {number} of a harbour and its boats"} for number in range(ROWS)]
    job.write([*rows, {"id": "empty", "text": None}])
    kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    called = [sys.executable, "-m", "tests.pipelines.run.cluster.metrics_job", str(job.config_file())]
    done = subprocess.run(called, env=kept, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    samples, (first, second) = told["samples"], told["reports"]
    assert (first["rows"]["written"], first["rows"]["dead"], second["rows"]["skipped"]) == (ROWS, 1, ROWS)

    def summed(stage: str, figure: str) -> float:
        return sum(report["stages"].get(stage, {}).get(figure, 0) for report in (first, second))

    assert samples["ray_fleetembed_documents_total test,read,,"] == summed("read", "rows") == 2 * (ROWS + 1)
    assert samples["ray_fleetembed_skipped_rows_total test,skip,,"] == ROWS
    assert samples["ray_fleetembed_dead_rows_total test,dead letters,,"] == 2
    assert samples["ray_fleetembed_written_rows_total test,write,,parquet"] == ROWS
    for embedding in ("dense", "bm25"):
        for figure, name in {"rows": "embedded_rows", "tokens": "tokens", "padded_tokens": "padded_tokens"}.items():
            at_port = samples.get(f"ray_fleetembed_{name}_total test,embed,{embedding},", 0)
            assert at_port == summed(embedding, figure), name
    seconds = {key: value for key, value in samples.items() if key.startswith("ray_fleetembed_stage_seconds_total")}
    assert {key.partition(" ")[2] for key in seconds} == {
        "test,read,,",
        "test,skip,,",
        "test,embed,dense,",
        "test,embed,bm25,",
        "test,write,,parquet",
        "test,dead letters,,",
    }
    reported = sum(summed(stage, "seconds") for stage in {*first["stages"], *second["stages"]})
    assert sum(seconds.values()) == pytest.approx(reported, abs=0.01)
    # A gauge is summed over both runs' counters here, as long as Ray still tells of the first one, which is over.
    assert samples["ray_fleetembed_source_documents test,,,"] in (ROWS + 1, 2 * (ROWS + 1))
    assert samples["ray_fleetembed_sink_queue_rows test,,,"] == 0


@pytest.mark.parametrize(
    ("stage", "tags"),
    [
        ("read", ("read", "", "")),
        ("skip", ("skip", "", "")),
        ("dense", ("embed", "dense", "")),
        ("embed read", ("embed", "read", "")),
        ("embed write qdrant", ("embed", "write qdrant", "")),
        ("write qdrant", ("write", "", "qdrant")),
        ("write dead letters", ("dead letters", "", "")),
    ],
)
def test_figures_are_told_apart_by_stage_embedding_and_sink(stage: str, tags: tuple[str, str, str]) -> None:
    source = source_of(stage)
    assert (source.kind, source.embedding, source.sink) == tags
    assert dict(increments(source, {"seconds": 0.25})) == {"fleetembed_stage_seconds_total": 0.25}


def test_figures_of_a_sink_count_its_retries_and_nothing_counts_backwards() -> None:
    figures = {"rows": 12.0, "offered": 14.0, "retries": 3.0, "seconds": 0.5}
    added = dict(increments(source_of("write qdrant"), figures))
    assert added == {
        "fleetembed_written_rows_total": 12,
        "fleetembed_retries_total": 3,
        "fleetembed_stage_seconds_total": 0.5,
    }
    assert not list(increments(source_of("read"), {"rows": -1.0, "seconds": 0.0}))
    assert set(added) <= set(COUNTERS) and not set(COUNTERS) & set(GAUGES)


def test_the_queue_of_the_sinks_holds_what_the_last_embedding_gave_and_no_sink_was_offered() -> None:
    queue = SinkQueue()

    def add(stage: str, **figures: float) -> float:
        queue.add(source_of(stage), figures)
        return queue.rows

    assert add("dense") == 0
    assert add("dense", rows=10) == 10
    # Between two embeddings rows wait for the second one.
    assert add("colbert") == 0
    assert add("colbert", rows=8) == 8
    # Only the first sink tells what it was offered; it rejected one.
    assert add("write qdrant", offered=5) == 3
    assert add("write qdrant", rows=4) == 3
    assert add("write parquet", rows=4) == 3
    assert add("write qdrant", offered=4) == 0


def test_where_metrics_fail_the_tally_counts_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no agent")

    monkeypatch.setattr("ray.util.metrics.Counter", broken)
    tally = Tally(JobMetrics("docs"))
    tally("read", {"rows": 3.0})
    tally("read", {"rows": 4.0})
    assert tally.read()["read"]["rows"] == 7
