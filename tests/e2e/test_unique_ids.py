"""``source.ids_are_unique`` leaves out the look through all ids, and changes nothing else where they are unique."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipelines import EmbeddingPipeline
from pipelines.run import scan
from pipelines.run.report.report import RunReport
from pipelines.sinks.qdrant.client import open_folder

ROWS = [{"id": f"d{number}", "text": f"text number {number}"} for number in range(40)]


def pipeline(folder: Path, out: str, sink: dict[str, Any] | None = None, **source: Any) -> EmbeddingPipeline:
    """A job of BM25 over the files in ``corpus``, into a Parquet and a Qdrant folder."""
    return EmbeddingPipeline.from_config(
        {
            "source": {"path": str(folder / "corpus"), "id": "id", **source},
            "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
            "sink": [
                {"type": "parquet", "path": str(folder / out / "files"), **(sink or {})},
                {"type": "qdrant", "path": str(folder / out / "store"), "collection": "docs", **(sink or {})},
            ],
            "compute": {"block_rows": 16, "engine": "local"},
            "errors": {"max_rate": 0.5},
            "report": str(folder / out / "report.json"),
        }
    )


def run(job: EmbeddingPipeline) -> RunReport:
    return job.run(console=Console(quiet=True))


def write(folder: Path, rows: list[dict[str, Any]], name: str = "a.jsonl") -> None:
    (folder / "corpus").mkdir(exist_ok=True)
    (folder / "corpus" / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def both(folder: Path, out: str) -> tuple[dict[str, str], dict[str, str]]:
    """Texts by document id, each of which is once in the Parquet sink, and in the Qdrant sink."""
    rows = pads.dataset(folder / out / "files", format="parquet").to_table(["document_id", "text"]).to_pylist()
    files = {row["document_id"]: row["text"] for row in rows}
    with closing(open_folder(str(folder / out / "store"))) as client:
        payloads = [point.payload for point in client.scroll("docs", limit=1000)[0]]
    assert len(files) == len(rows) == len(payloads)
    return files, {row["document_id"]: row["text"] for row in payloads}


def stored(folder: Path, out: str) -> dict[str, str]:
    """Texts by document id, the same in both sinks."""
    files, points = both(folder, out)
    assert files == points
    return files


@pytest.fixture
def unscanned(monkeypatch: pytest.MonkeyPatch) -> None:
    """No split can be looked through."""
    monkeypatch.setattr(scan, "scan_split", None)


def test_a_job_with_unique_ids_is_the_same_without_the_look(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    write(tmp_path, [*ROWS[:30], {"id": "dead", "text": None}])
    pq.write_table(pa.Table.from_pylist(ROWS[30:]), tmp_path / "corpus" / "b.parquet")
    looked = run(pipeline(tmp_path, "looked"))
    request.getfixturevalue("unscanned")
    taken = run(pipeline(tmp_path, "taken", ids_are_unique=True))
    assert stored(tmp_path, "taken") == stored(tmp_path, "looked") == {row["id"]: row["text"] for row in ROWS}
    assert (taken.documents, taken.rows) == (looked.documents, looked.rows) == (41, looked.rows)
    assert (taken.exit_code, looked.exit_code) == (3, 3) and taken.dead_samples == looked.dead_samples
    again = run(pipeline(tmp_path, "taken", ids_are_unique=True))
    assert (again.documents, again.rows["skipped"], again.rows["embedded"]) == (41, 40, 0)


@pytest.mark.usefixtures("unscanned")
def test_of_files_that_tell_their_rows_the_total_is_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "corpus").mkdir()
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "corpus" / "b.parquet")
    with caplog.at_level("INFO", "fleetembed"):
        assert run(pipeline(tmp_path, "all", ids_are_unique=True)).documents == 40
        assert run(pipeline(tmp_path, "few", ids_are_unique=True, limit=7)).documents == 7
        write(tmp_path, [{"id": "more", "text": "lines"}])
        assert run(pipeline(tmp_path, "more", ids_are_unique=True)).documents == 41
    lines = [line for line in caplog.messages if line.startswith("reading ")]
    assert lines == ["reading 40 documents", "reading 7 documents", "reading ? documents"]


def test_of_an_id_that_comes_twice_all_the_same_one_row_stays(tmp_path: Path) -> None:
    write(tmp_path, [*ROWS, {"id": "d3", "text": "later"}])
    report = run(pipeline(tmp_path, "out", ids_are_unique=True))
    assert (report.exit_code, report.rows["embedded"], report.rows["dead"]) == (0, 41, 0)
    files, points = both(tmp_path, "out")
    first = {row["id"]: row["text"] for row in ROWS}
    assert points == first | {"d3": "later"} and files in (points, first)
    # One is always another than what is there.
    assert run(pipeline(tmp_path, "out", ids_are_unique=True)).rows["written"] >= 1
    # Without the key the first one stays, and the other is told of.
    report = run(pipeline(tmp_path, "out"))
    assert (report.exit_code, report.rows["dead"]) == (3, 1)
    assert stored(tmp_path, "out") == first


def test_what_deletions_need_is_read_all_the_same_and_the_plan_says_so(tmp_path: Path) -> None:
    def said(job: EmbeddingPipeline) -> list[str]:
        return [line for line in job.plan().deletions if line.startswith("source.ids_are_unique")]

    sweep = {"deletions": "sweep", "max_delete": 1}
    write(tmp_path, ROWS)
    run(pipeline(tmp_path, "out", sweep, ids_are_unique=True))
    write(tmp_path, [*ROWS[:20], {"id": "d3", "text": "later"}])
    job = pipeline(tmp_path, "out", sweep, ids_are_unique=True)
    assert said(job) == [
        "source.ids_are_unique is true, and all ids are read before anything is embedded all the same: they tell which "
        "documents the source has"
    ]
    assert run(job).rows["deleted"] == 20
    assert stored(tmp_path, "out") == {row["id"]: row["text"] for row in ROWS[:20]}
    assert said(pipeline(tmp_path, "out", ids_are_unique=True, deleted="gone"))
    assert not said(pipeline(tmp_path, "out", ids_are_unique=True)) and not said(pipeline(tmp_path, "out", sweep))
