from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from embedders.base import VectorSpec
from pipelines.errors import SinkError
from pipelines.sinks.base import Held
from pipelines.sinks.factory import make_sink
from pipelines.sinks.lease.lease import RunLeases
from pipelines.sinks.parquet.config import ParquetSinkConfig
from pipelines.sinks.parquet.sink import ParquetSink
from tests.pipelines.sinks import rows


def sink_at(path: Path | str, **options: Any) -> ParquetSink:
    made = make_sink(ParquetSinkConfig(type="parquet", path=str(path), **options))
    assert isinstance(made, ParquetSink)
    return made


def run(path: Path, facts: Any, *tables: pa.Table, completed: bool = True) -> dict[str, Any]:
    """One run of a job: what is held is not written, as in the pipeline."""
    sink = sink_at(path)
    sink.open(facts)
    with closing(sink.connect()) as writer:
        for one in tables:
            held = writer.held(one) == Held.SAME
            fresh = one.filter(pa.array(~held))
            if fresh.num_rows:
                assert writer.write(fresh).written == fresh.num_rows
    return sink.finish(completed=completed)


def texts(path: Path) -> dict[str, str]:
    """Document and chunk -> text; fails where a row is there twice."""
    read = ds.dataset(path).to_table().to_pylist()
    by_name = {f"{row['document_id']}/{row['chunk_no']}": row["text"] for row in read}
    assert len(by_name) == len(read)
    return by_name


def test_every_vector_kind_reads_back_with_pyarrow_and_keeps_its_type(tmp_path: Path) -> None:
    facts = rows.job(rows.ALL_KINDS)
    written = rows.table(facts, rows.documents(7))
    figures = run(tmp_path, facts, written)
    read = ds.dataset(tmp_path).to_table()
    assert figures["points"] == 7
    for name, spec in rows.ALL_KINDS.items():
        assert read.schema.field(name).type == spec.arrow_type
        assert read[name].to_pylist() == written[name].to_pylist()
    assert read.column_names[:5] == ["id", "document_id", "chunk_no", "chunk_start", "chunk_end"]
    assert read["payload"].to_pylist() == written["payload"].to_pylist()


def test_duckdb_reads_vectors_as_lists(tmp_path: Path) -> None:
    facts = rows.job(rows.ALL_KINDS)
    run(tmp_path, facts, rows.table(facts, rows.documents(3)))
    relation = duckdb.sql(
        f"SELECT document_id, dense, half, tokens, terms.indices, len(dense), len(tokens[1]) "
        f"FROM '{tmp_path}/*.parquet' ORDER BY document_id"
    )
    assert relation is not None
    found = relation.fetchall()
    assert [row[0] for row in found] == ["d0", "d1", "d2"]
    assert found[1][1] == pytest.approx(rows.dense_of("text number 1"))
    assert found[1][2] == pytest.approx(rows.dense_of("text number 1"), abs=1e-3)
    assert found[1][3][0] == pytest.approx(rows.dense_of("text"))
    assert found[1][4] == [0, 1, 2]
    assert found[1][5:] == (rows.DIM, rows.DIM)


def test_pandas_reads_the_folder(tmp_path: Path) -> None:
    facts = rows.job(rows.ALL_KINDS)
    run(tmp_path, facts, rows.table(facts, rows.documents(3)))
    frame = pd.read_parquet(tmp_path).set_index("document_id")
    assert np.stack(list(frame["dense"])).shape == (3, rows.DIM)
    assert frame.loc["d2", "text"] == "text number 2"
    assert np.stack(list(frame.loc["d2", "tokens"])).shape == (3, rows.DIM)


def test_the_text_can_be_left_out(tmp_path: Path) -> None:
    facts = rows.job()
    sink = sink_at(tmp_path, store_text=False)
    sink.open(facts)
    sink.connect().write(rows.table(facts, rows.documents(2)))
    sink.finish(completed=True)
    assert "text" not in ds.dataset(tmp_path).schema.names
    with pytest.raises(SinkError, match="its columns are"):
        sink_at(tmp_path).open(facts)


def test_a_second_run_holds_everything_and_adds_only_what_is_new(tmp_path: Path) -> None:
    facts = rows.job()
    run(tmp_path, facts, rows.table(facts, rows.documents(10)))
    before = sorted(path.name for path in tmp_path.glob("*.parquet"))
    sink = sink_at(tmp_path)
    sink.open(facts)
    writer = sink.connect()
    assert rows.held(writer, rows.table(facts, rows.documents(12))) == [True] * 10 + [False] * 2
    assert writer.write(rows.table(facts, rows.documents(10))).written == 10
    assert sorted(path.name for path in tmp_path.glob("*.parquet")) == before
    assert writer.write(rows.table(facts, rows.documents(12))).written == 12
    assert sink.finish(completed=True)["points"] == 12
    assert len(texts(tmp_path)) == 12


def test_a_changed_document_replaces_its_row(tmp_path: Path) -> None:
    facts = rows.job()
    run(tmp_path, facts, rows.table(facts, rows.documents(4)))
    figures = run(tmp_path, facts, rows.table(facts, [("d2", "new text", None)]))
    assert figures["replaced"] == 1
    assert figures["points"] == 4
    assert texts(tmp_path)["d2/0"] == "new text"
    run(tmp_path, facts, rows.table(facts, rows.documents(4)))
    assert texts(tmp_path)["d2/0"] == "text number 2"


def test_a_document_with_fewer_chunks_loses_the_rest(tmp_path: Path) -> None:
    facts = rows.job(chunked=True)
    run(tmp_path, facts, rows.table(facts, rows.documents(3), chunks=5))
    run(tmp_path, facts, rows.table(facts, [("d1", "short", None)], chunks=2))
    left = texts(tmp_path)
    assert sorted(name for name in left if name.startswith("d1/")) == ["d1/0", "d1/1"]
    assert len(left) == 5 + 2 + 5
    assert left["d1/1"] == "short part 1"


def test_chunks_dropped_in_a_killed_run_are_embedded_again_when_they_come_back(tmp_path: Path) -> None:
    facts = rows.job(chunked=True)
    long, short = (rows.table(facts, [("d", "text", None)], chunks=count) for count in (4, 2))
    run(tmp_path, facts, long)
    run(tmp_path, facts, short, completed=False)
    sink = sink_at(tmp_path)
    sink.open(facts)
    assert rows.held(sink.connect(), long) == [False] * 4
    assert rows.held(sink.connect(), short) == [True] * 2
    run(tmp_path, facts, long)
    assert len(texts(tmp_path)) == 4


def test_two_corpora_share_a_folder_and_keep_their_chunks(tmp_path: Path) -> None:
    one, other = rows.job(chunked=True), rows.job(chunked=True, corpus="archive")
    run(tmp_path, one, rows.table(one, [("d", "text", None)], chunks=4))
    figures = run(tmp_path, other, rows.table(other, [("d", "text", None)], chunks=2))
    assert figures["points"] == 6


def test_after_a_run_that_was_killed_the_next_one_goes_on_and_cleans_up(tmp_path: Path) -> None:
    facts = rows.job()
    run(tmp_path, facts, rows.table(facts, rows.documents(5)))
    killed = sink_at(tmp_path)
    killed.open(facts)
    killed.connect().write(rows.table(facts, [("d1", "newer", None)]))
    # As on file systems that have no files without a name.
    (tmp_path / "_tmp").mkdir()
    (tmp_path / "_tmp" / "part-00002-abc.parquet.123").write_bytes(b"half a file")
    assert not (tmp_path / "_SUCCESS").exists()

    resumed = sink_at(tmp_path)
    resumed.open(facts)
    writer = resumed.connect()
    assert not (tmp_path / "_tmp").exists()
    assert rows.held(writer, rows.table(facts, [("d1", "newer", None)])) == [True]
    assert rows.held(writer, rows.table(facts, rows.documents(3))) == [True, False, True]
    assert resumed.finish(completed=True)["points"] == 5
    assert texts(tmp_path)["d1/0"] == "newer"
    assert (tmp_path / "_SUCCESS").read_bytes() == b""


def test_a_table_written_twice_in_one_run_is_there_once(tmp_path: Path) -> None:
    facts = rows.job()
    sink = sink_at(tmp_path)
    sink.open(facts)
    whole = rows.table(facts, rows.documents(6))
    sink.connect().write(whole)
    sink.connect().write(whole)
    assert len(list(tmp_path.glob("*.parquet"))) == 1
    sink.connect().write(whole.slice(0, 4))
    assert sink.finish(completed=True)["points"] == 6
    assert len(texts(tmp_path)) == 6


def test_a_failed_run_leaves_no_success_marker(tmp_path: Path) -> None:
    facts = rows.job()
    run(tmp_path, facts, rows.table(facts, rows.documents(2)))
    run(tmp_path, facts, rows.table(facts, rows.documents(4)), completed=False)
    assert not (tmp_path / "_SUCCESS").exists()


@pytest.mark.parametrize("completed", [True, False])
def test_a_run_that_wrote_nothing_leaves_the_marker_as_it_was(tmp_path: Path, completed: bool) -> None:
    facts = rows.job()
    run(tmp_path, facts, rows.table(facts, rows.documents(2)), completed=completed)
    sink = sink_at(tmp_path)
    sink.open(facts)
    assert not (tmp_path / "_SUCCESS").exists()
    sink.finish(completed=False, untouched=True)
    assert (tmp_path / "_SUCCESS").exists() == completed


def test_each_file_says_what_made_it_and_no_other_is_there(tmp_path: Path) -> None:
    facts = rows.job()
    figures = run(tmp_path, facts, rows.table(facts, rows.documents(2)), rows.table(facts, rows.documents(3, first=2)))
    files = sorted(tmp_path.glob("part-*.parquet"))
    assert {path.name for path in tmp_path.iterdir()} == {"_SUCCESS", *(path.name for path in files)}
    assert [figures["points"], figures["files"]] == [5, len(files)]
    assert sum(pq.read_metadata(path).num_rows for path in files) == 5
    for path in files:
        schema = pq.read_schema(path)
        assert schema.field("dense").type == rows.DENSE.arrow_type
        made = json.loads(schema.metadata[b"fleetembed"])
        assert (made["fingerprint"], made["models"]) == ("f1", {"dense": "org/dense-model"})


def test_check_changes_nothing(tmp_path: Path) -> None:
    facts = rows.job()
    assert sink_at(tmp_path / "new").check(facts) == {"exists": False, "files": 0, "points": 0}
    assert not (tmp_path / "new").exists()
    run(tmp_path, facts, rows.table(facts, rows.documents(2)))
    assert sink_at(tmp_path).check(facts) == {"exists": True, "files": 1, "points": 2}
    assert (tmp_path / "_SUCCESS").exists()


OTHER_JOBS: list[tuple[dict[str, Any], str]] = [
    (
        {"models": {"dense": "org/other"}, "fingerprints": {"dense": "x"}},
        "by the model org/dense-model.* uses org/other",
    ),
    ({"fingerprints": {"dense": "x"}}, "org/dense-model with other files or settings"),
    ({"vectors": {"dense": rows.HALF}}, "distance cosine, this job's has dot"),
    ({"vectors": {"dense": rows.DENSE, "terms": rows.SPARSE}}, "lacks the vector 'terms'"),
    ({"vectors": {"other": rows.DENSE}}, "has the vector 'dense', which this job does not make"),
    ({"chunked": True}, "not cut into chunks"),
    ({}, "the chunking has other settings"),
    ({"vectors": {"dense": VectorSpec("dense", pa.list_(pa.float32(), 8), 8)}}, "dim 4, this job's has 8"),
]


@pytest.mark.parametrize(("change", "message"), OTHER_JOBS)
def test_a_folder_of_another_job_is_refused_by_name_of_the_difference(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    facts = rows.job()
    run(tmp_path, facts, rows.table(facts, rows.documents(1)))
    other = rows.job(**{"fingerprint": "f2", **change})
    for attempt in (sink_at(tmp_path).check, sink_at(tmp_path).open):
        with pytest.raises(SinkError, match=f"(?s){message}.*another path"):
            attempt(other)
    assert (tmp_path / "_SUCCESS").exists()


def test_files_of_another_tool_and_damaged_files_are_refused(tmp_path: Path) -> None:
    facts = rows.job()
    pq.write_table(pa.table({"a": [1]}), tmp_path / "mine.parquet")
    with pytest.raises(SinkError, match=r"mine\.parquet was not written by this tool; choose another path .*path\)$"):
        sink_at(tmp_path).open(facts)
    (tmp_path / "mine.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(SinkError, match=r"mine\.parquet is damaged.*choose another path"):
        sink_at(tmp_path).check(facts)
    (tmp_path / "mine.parquet").rename(tmp_path / f"part-00001-{'0' * 32}.parquet")
    with pytest.raises(SinkError, match=r"is damaged.*delete it"):
        sink_at(tmp_path).check(facts)


def test_a_file_in_the_place_of_the_folder_is_an_error_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("here first")
    with pytest.raises(SinkError, match="out cannot be"):
        sink_at(tmp_path / "out").open(rows.job())


def test_a_pickled_sink_writes_from_another_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = rows.job()
    monkeypatch.chdir(tmp_path)
    sink = sink_at("out")
    sink.open(facts)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    pickle.loads(pickle.dumps(sink)).connect().write(rows.table(facts, rows.documents(2)))
    assert sink.finish(completed=True)["points"] == 2
    assert len(texts(tmp_path / "out")) == 2


def test_any_fsspec_store_will_do() -> None:
    facts = rows.job()
    for expected in (False, True):
        sink = sink_at("memory://bucket/vectors")
        sink.open(facts)
        assert rows.held(sink.connect(), rows.table(facts, rows.documents(2))) == [expected] * 2
        sink.connect().write(rows.table(facts, rows.documents(2)))
        assert sink.finish(completed=True)["points"] == 2
    whole = ds.dataset(sink.path, filesystem=sink.filesystem).to_table()
    assert whole.num_rows == 2


def test_credentials_in_a_url_are_never_shown() -> None:
    sink = sink_at("memory://user:hunter2@bucket/vectors?secret=hunter2")
    assert "hunter2" not in sink.name + str(sink.finish(completed=False))


@pytest.mark.ray
def test_ray_workers_share_the_index_and_add_files(tmp_path: Path, ray_local: None) -> None:
    import ray

    facts = rows.job()
    run(tmp_path, facts, rows.table(facts, rows.documents(50)))
    sink = sink_at(tmp_path)
    sink.open(facts)

    def work(sink: ParquetSink, table: pa.Table) -> list[bool]:
        writer = sink.connect()
        writer.write(table)
        return rows.held(writer, table)

    remote: Callable[..., Any] = ray.remote(work).remote
    parts = [rows.table(facts, rows.documents(20, first=first)) for first in (0, 40, 60)]
    assert ray.get([remote(sink, part) for part in parts]) == [[True] * 20, [True] * 10 + [False] * 10, [False] * 20]
    with RunLeases([sink], "run-1", "library") as held:
        held.take(facts)
        # The lease lies beside the files meanwhile.
        assert ray.data.read_parquet(str(tmp_path)).count() == 80
        assert sink.finish(completed=True)["points"] == 80
    assert ray.data.read_parquet(str(tmp_path)).count() == 80
    assert len(texts(tmp_path)) == 80
