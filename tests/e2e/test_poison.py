"""Bad input never stops a run: each row is in the output or in the dead letters with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import TooManyErrorsError
from tests.e2e.jobs import ON_BOTH, Job, Row, parquet_points


@pytest.fixture
def job(tmp_path: Path, minilm: Path, engine: str) -> Job:
    sinks = [{"type": "parquet", "path": str(tmp_path / "out")}]
    return Job(tmp_path, minilm, sinks, {"errors": {"max_rate": 1}}, engine)


def lines(*rows: Any) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


@ON_BOTH
def test_poisonous_json_lines_are_embedded_or_dead_with_a_reason(job: Job) -> None:
    megabytes = "All work and no play makes Jack a dull boy. " * 120_000
    job.corpus.write_text(
        lines(
            {"id": "good", "text": "A plain text."},
            {"id": "empty", "text": ""},
            {"id": "null", "text": None},
            {"id": "missing"},
            {"id": "number", "text": 5},
            {"id": "long", "text": megabytes},
            {"id": "control", "text": "a\x00b\x01\x02\x1b[31m\u202ec\ufeff"},
            '{"id": "surrogate", "text": "half a pair: \\ud83d"}',
            '{"id": "infinite", "text": "x", "price": Infinity}',
            '{"id": "broken", "text": "no end',
            "[1, 2, 3]",
            {"id": "good", "text": "A second document of that name."},
            {"id": {"a": 1}, "text": "an id that is no id"},
            {"id": "emoji", "text": "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301 ﷽ 中文"},
        ),
        encoding="utf-8",
    )
    report = job.run()
    assert report.exit_code == 3
    points = parquet_points(job.folder / "out")
    assert points.keys() == {"good", "empty", "long", "control", "emoji"}
    assert points["good"]["text"] == "A plain text."
    assert points["long"]["text"] == megabytes
    assert all(np.isfinite(point["dense"]).all() for point in points.values())
    assert points["empty"]["bm25"] == {}
    dead = job.dead()
    wanted = {
        3: "null",
        4: "text",
        5: "int",
        8: "surrogate",
        9: "price",
        10: "JSON",
        11: "object",
        12: "good",
        13: "id",
    }
    assert dead.keys() == {f"corpus.jsonl:{line}" for line in wanted}
    for line, word in wanted.items():
        assert word.lower() in dead[f"corpus.jsonl:{line}"].lower()
    assert report.rows["written"] + report.rows["dead"] == report.rows["read"] == 14
    assert report.stages["dense"]["truncated"] == 1


def test_a_truncated_parquet_file_costs_only_itself(job: Job, docstrings: list[Row]) -> None:
    table = pa.Table.from_pylist(docstrings)
    folder = job.folder / "docs"
    folder.mkdir()
    pq.write_table(table.slice(0, 30), folder / "whole.parquet")
    pq.write_table(table.slice(30), folder / "cut.parquet")
    data = (folder / "cut.parquet").read_bytes()
    (folder / "cut.parquet").write_bytes(data[: len(data) // 2])
    job.extra["source"] = {"path": str(folder), "id": "id"}
    report = job.run()
    assert report.exit_code == 3
    assert parquet_points(job.folder / "out").keys() == {row["id"] for row in docstrings[:30]}
    assert [origin for origin in job.dead() if "cut.parquet" in origin]


def test_a_csv_row_that_is_too_short_is_dead_and_its_neighbours_are_not(job: Job) -> None:
    path = job.folder / "docs.csv"
    path.write_text('id,text,kind\na,"first, with a comma",x\nb\nc,"third\nover two lines",y\nd,too,many,cells\n')
    job.extra["source"] = {"path": str(path), "id": "id"}
    job.run()
    assert parquet_points(job.folder / "out").keys() == {"a", "c"}
    assert job.dead().keys() == {"docs.csv:3", "docs.csv:6"}


def test_mended_rows_are_embedded_by_the_next_run(job: Job) -> None:
    job.write([{"id": "a", "text": "fine"}, {"id": "b", "text": None}])
    assert job.run().exit_code == 3
    job.write([{"id": "a", "text": "fine"}, {"id": "b", "text": "fine now"}])
    report = job.run()
    assert (report.exit_code, report.rows["embedded"], report.rows["skipped"]) == (0, 1, 1)


@ON_BOTH
def test_too_many_dead_rows_stop_the_run_and_keep_what_was_written(job: Job) -> None:
    job.extra["errors"] = {"max_rate": 0.1}
    job.write([{"id": "a", "text": "fine"}, {"id": "b", "text": None}])
    with pytest.raises(TooManyErrorsError, match=r"1 of 2 rows .* text is null"):
        job.run()
    assert job.report["status"] == "failed"
    assert parquet_points(job.folder / "out").keys() == {"a"}
