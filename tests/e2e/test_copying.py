"""A row is embedded once, for all sinks of a job: each one is given what it lacks, and nothing else."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.sinks.qdrant.client import open_folder
from tests.e2e.jobs import ON_RAY, Job, Row, parquet_points, qdrant_points
from tests.model_fixtures import write_synthetic_model


def counts(job: Job) -> dict[str, int]:
    """What one run did with its rows, beside those that were read."""
    report = job.run()
    assert report.exit_code == 0, report.dead_samples
    rows = report.rows
    assert rows["chunked"] == sum(rows[name] for name in ("skipped", "embedded", "copied", "payload_only"))
    assert rows["written"] == rows["chunked"] - rows["skipped"]
    return {name: rows[name] for name in ("skipped", "embedded", "copied", "payload_only") if rows[name]}


def stored(sink: dict[str, Any]) -> dict[str, Row]:
    """All points of a sink by document id."""
    if sink["type"] == "parquet":
        return parquet_points(Path(sink["path"]))
    with closing(open_folder(sink["path"])) as client:
        return qdrant_points(client, sink["collection"])


def assert_same(one: dict[str, Row], other: dict[str, Row]) -> None:
    assert one.keys() == other.keys()
    for name, row in one.items():
        assert (row["text"], row["payload"]) == (other[name]["text"], other[name]["payload"])
        np.testing.assert_allclose(row["dense"], other[name]["dense"], atol=1e-5)
        assert row["bm25"] == pytest.approx(other[name]["bm25"], abs=1e-6)


ROWS = [{"id": f"d{n}", "text": f"text number {n}", "module": "here"} for n in range(22)]


@pytest.fixture
def job(tmp_path: Path, engine: str) -> Job:
    """A job with a synthetic dense model and BM25."""
    synthetic = write_synthetic_model(tmp_path / "model")
    dense = {"name": "dense", "model": {"path": str(synthetic), "pooling": "mean"}}
    embeddings = {"embeddings": [dense, {"name": "bm25", "model": "Qdrant/bm25"}]}
    made = Job(tmp_path, synthetic, [{"type": "parquet", "path": str(tmp_path / "files")}], embeddings, engine)
    made.write(ROWS[:20])
    return made


@ON_RAY
def test_rays_workers_copy_to_a_sink_that_is_added(job: Job, tmp_path: Path) -> None:
    assert counts(job) == {"embedded": 20}
    store = {"type": "qdrant", "path": str(tmp_path / "store"), "collection": "docs"}
    job.sinks.append(store)
    job.write([*ROWS[:19], {**ROWS[19], "module": "elsewhere"}, *ROWS[20:]])
    assert counts(job) == {"embedded": 2, "copied": 20}
    assert_same(stored(job.sinks[0]), stored(store))
    assert job.report["stages"]["dense"]["rows"] == 2
    store["reuse_moved"] = True
    job.write([{"id": "moved", "text": ROWS[0]["text"], "module": "there"}, *ROWS[1:19], *ROWS[20:]])
    assert counts(job) == {"skipped": 20, "copied": 1}
    moved = stored(store)
    np.testing.assert_allclose(moved["moved"]["dense"], moved["d0"]["dense"], atol=1e-6)


def test_sinks_in_different_states_are_each_given_what_they_lack(job: Job, tmp_path: Path) -> None:
    (files,) = job.sinks
    rows = [dict(row) for row in ROWS]
    store = {"type": "qdrant", "path": str(tmp_path / "store"), "collection": "docs"}
    more = {"type": "parquet", "path": str(tmp_path / "more")}
    assert counts(job) == {"embedded": 20}
    untouched = sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "files").glob("part-*"))
    job.sinks = [files, store]
    assert counts(job) == {"copied": 20}
    assert untouched == sorted((path.name, path.stat().st_mtime_ns) for path in (tmp_path / "files").glob("part-*"))
    assert_same(stored(files), stored(store))
    # One sink hears of another payload and another text, and the other one of them and of more in the next run.
    rows[0]["module"] = rows[1]["module"] = "elsewhere"
    rows[2]["text"] = "A new text about zebras."
    job.write(rows[:20])
    job.sinks = [store]
    assert counts(job) == {"skipped": 17, "embedded": 1, "payload_only": 2}
    rows[1]["module"] = "nowhere"
    job.write(rows)
    job.sinks = [files, store]
    assert counts(job) == {"skipped": 17, "embedded": 2, "copied": 1, "payload_only": 2}
    job.sinks = [store, more, files]
    assert counts(job) == {"copied": 22}
    shutil.rmtree(tmp_path / "files")
    assert counts(job) == {"copied": 22}
    job.sinks.append({"type": "parquet", "path": str(tmp_path / "fresh")})
    wanted = stored(job.sinks[0])
    assert wanted[rows[1]["id"]]["payload"]["module"] == "nowhere"
    for sink in job.sinks[:3]:
        assert_same(stored(sink), wanted)
    # What was embedded anew from the texts as they are now is the same.
    job.sinks = job.sinks[3:]
    assert counts(job) == {"embedded": 22}
    assert_same(stored(job.sinks[0]), wanted)
    assert counts(job) == {"skipped": 22}
