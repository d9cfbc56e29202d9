"""Datasets of Ray Data and its readers as sources: the points of a file, and errors that say what to do."""

from __future__ import annotations

import _thread
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray.data
from ray.data._internal.execution.streaming_executor import StreamingExecutor

from pipelines import ConfigError, EmbeddingPipeline, SourceError
from pipelines.config.readers import PACKAGES, public_readers
from pipelines.config.source import SourceConfig
from pipelines.run.cluster import reading, remote_rows
from pipelines.sources.memory.conversion import to_data
from pipelines.sources.memory.data import Data
from pipelines.sources.memory.unread import GivenDataset
from tests.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]

ROWS = [{"id": f"d{number}", "text": f"text {number}", "number": number} for number in range(50)]


def job(folder: Path, name: str, engine: str, source: dict[str, Any]) -> dict[str, Any]:
    return {
        "source": source,
        "embeddings": [{"name": "bm25", "model": "Qdrant/bm25", "options": {"avg_len": 2}}],
        "sink": {"type": "parquet", "path": str(folder / name)},
        "compute": {"engine": engine},
        "errors": {"max_rate": 1, "path": str(folder / f"{name}-dead")},
        "report": str(folder / f"{name}.json"),
    }


def points(folder: Path, name: str) -> list[dict[str, Any]]:
    return sorted(pq.read_table(folder / name).to_pylist(), key=lambda row: str(row["id"]))


def test_a_dataset_and_a_table_give_the_points_of_a_file_with_either_engine(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    path = str(tmp_path / "rows.parquet")
    EmbeddingPipeline.from_config(job(tmp_path, "file", "local", {"id": "id", "path": path})).run()
    expected = points(tmp_path, "file")
    assert len(expected) == len(ROWS)
    lazy = ray.data.from_items(ROWS, override_num_blocks=3).map_batches(lambda frame: frame, batch_format="pandas")
    before = (lazy.context.enable_progress_bars, lazy.context.execution_options.preserve_order)

    pipeline = EmbeddingPipeline.from_config(job(tmp_path, "lazy", "ray", {"id": "id"}), source=lazy)
    assert pipeline.plan().data == "ray.data.Dataset"
    assert pipeline.run().engine == "ray"
    assert points(tmp_path, "lazy") == expected
    assert (lazy.context.enable_progress_bars, lazy.context.execution_options.preserve_order) == before

    again = EmbeddingPipeline.from_config(job(tmp_path, "lazy", "local", {"id": "id"}), source=lazy.materialize()).run()
    assert (again.rows["embedded"], again.rows["skipped"]) == (0, len(ROWS))


@pytest.mark.parametrize("given", [pa.Table.from_pylist(ROWS), ROWS], ids=["table", "list"])
def test_rows_of_this_process_are_read_by_workers(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_rows, "SPLIT_BYTES", 700)
    held = to_data(given, "text")
    shared = remote_rows.put_rows(held)
    assert (shared.sizes, shared.title) == ((), held.title)

    @ray.remote
    def read(data: Data, start: int, stop: int) -> list[Any]:
        pieces = data.rows.pieces(start, stop)
        return [row for piece in pieces for row in (piece.to_pylist() if isinstance(piece, pa.Table) else piece)]

    ranges = [(0, 50), (0, 1), (17, 33), (49, 50), (5, 5)]
    assert ray.get([read.remote(shared, *some) for some in ranges]) == [ROWS[start:stop] for start, stop in ranges]


def test_rows_of_a_dataset_that_are_dead_are_named_by_their_number(tmp_path: Path) -> None:
    rows = ray.data.from_items([{"id": "a", "text": "one"}, {"id": "a", "text": "two"}, {"id": "b", "text": None}])
    report = EmbeddingPipeline.from_config(job(tmp_path, "out", "local", {"id": "id"}), source=rows).run()
    assert (report.rows["written"], report.rows["dead"]) == (1, 2)
    letters = pq.read_table(tmp_path / "out-dead").to_pylist()
    assert {row["origin"]: row["error"]["message"] for row in letters} == {
        "ray.data.Dataset:row 2": "document id 'a' was already read at ray.data.Dataset:row 1; the first is kept",
        "ray.data.Dataset:row 3": "text is null",
    }


def test_a_reader_of_ray_is_named_in_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = sqlite3.connect(tmp_path / "rows.db")
    database.execute("CREATE TABLE rows (id TEXT, text TEXT, number INTEGER)")
    database.executemany("INSERT INTO rows VALUES (:id, :text, :number)", ROWS)
    database.commit()
    database.close()
    # A secret stands for itself, also inside of a function's arguments.
    monkeypatch.setenv("ROWS_DB", str(tmp_path / "rows.db"))
    connect = {"function": "sqlite3:connect", "arguments": {"database": "${ROWS_DB}"}}
    reader: dict[str, Any] = {
        "ray": "read_sql",
        "arguments": {"sql": "SELECT * FROM rows ORDER BY number", "connection_factory": connect},
    }
    keys = {**reader, "id": "id", "limit": 20}
    pipeline = EmbeddingPipeline.from_config(job(tmp_path, "sql", "local", keys))
    assert pipeline.plan().data == "ray.data.read_sql"
    assert not (tmp_path / "sql").exists()
    assert pipeline.run().rows["written"] == 20
    origins = list(pipeline.preview(2, all_columns=True)["origin"])
    assert origins == ["ray.data.read_sql:row 1", "ray.data.read_sql:row 2"]
    reader["arguments"]["sql"] = "SELECT * FROM nowhere"
    broken = EmbeddingPipeline.from_config(job(tmp_path, "broken", "local", reader))
    with pytest.raises(SourceError, match=r"ray.data.read_sql could not be read: .*no such table: nowhere") as refused:
        broken.run()
    assert "\n" not in str(refused.value)


def test_a_function_of_the_user_that_fails_is_told_in_a_sentence(tmp_path: Path) -> None:
    def fail(row: dict[str, Any]) -> dict[str, Any]:
        raise KeyError("no such key")

    dataset = ray.data.from_items(ROWS).map(fail)
    with pytest.raises(SourceError, match=r"Dataset could not be read: KeyError: no such key$"):
        EmbeddingPipeline.from_config(job(tmp_path, "out", "local", {}), source=dataset).run()


def test_a_column_that_a_dataset_lacks_is_missed_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = ray.data.from_arrow(pa.Table.from_pylist(ROWS))
    pipeline = EmbeddingPipeline.from_config(job(tmp_path, "out", "local", {"text": "txt"}), source=dataset)
    monkeypatch.setattr(reading, "_blocks", None)
    for act in (pipeline.plan, pipeline.run):
        with pytest.raises(SourceError, match=r"ray.data.Dataset has no column 'txt'. Did you mean 'text'\?"):
            act()


def test_the_payload_of_a_dataset_gets_columns_by_what_was_read(tmp_path: Path) -> None:
    sink = {"type": "parquet", "path": str(tmp_path / "typed"), "payload": "columns"}
    typed = {**job(tmp_path, "typed", "local", {"id": "id"}), "sink": sink}
    EmbeddingPipeline.from_config(typed, source=ray.data.from_items(ROWS)).run()
    table = pq.read_table(tmp_path / "typed")
    assert table.schema.field("number").type == pa.int64()
    assert sorted(table["number"].to_pylist()) == list(range(len(ROWS))) and table["payload"].null_count == len(ROWS)


def test_a_read_that_is_interrupted_goes_on_nowhere() -> None:
    def executions() -> list[threading.Thread]:
        return [one for one in threading.enumerate() if isinstance(one, StreamingExecutor) and one.is_alive()]

    def interrupt() -> None:
        wait_until(executions)
        time.sleep(0.5)
        _thread.interrupt_main()

    def wait(rows: Any) -> Any:
        time.sleep(20)
        return rows

    dataset = ray.data.range(10, override_num_blocks=10).map_batches(wait)
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt) as kept:
        reading.read_dataset(GivenDataset(dataset), SourceConfig(ray="read_csv", text="id"))
    # A notebook keeps the traceback, and with it what the read held.
    assert kept.value.__traceback__ is not None
    assert executions() == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            {"ray": "read_icberg"},
            r"source.ray: ray.data has no public reader 'read_icberg'; did you mean 'read_iceberg'",
        ),
        ({"ray": "iceberg"}, "did you mean 'read_iceberg'"),
        ({"ray": "from_items"}, "there are: read_audio"),
        ({"ray": "read_parquet", "path": "x"}, "path and ray are given; give exactly one"),
        ({"path": "x", "arguments": {"a": 1}}, "they are of the reader that ray names"),
        ({"ray": "read_csv", "delimiter": ";"}, "what a reader takes stands in arguments"),
    ],
    ids=["misspelt", "short", "not a reader", "two places", "no reader", "of files"],
)
def test_what_is_no_reader_is_told_when_the_job_is_read(tmp_path: Path, source: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EmbeddingPipeline.from_config(job(tmp_path, "out", "local", source))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            {"ray": "read_delta_sharing_tables", "arguments": {"url": "x"}},
            "is not installed .*: pip install delta-sharing",
        ),
        ({"ray": "read_mongo", "arguments": {}}, "pip install pymongo pymongoarrow"),
        (
            {"ray": "read_parquet", "arguments": {"pathes": "x"}},
            r"read_parquet: .*'paths'; 'pathes' is there, did you mean 'paths'\?",
        ),
        ({"ray": "read_parquet", "arguments": {"paths": "${NO_SUCH_VARIABLE}"}}, "NO_SUCH_VARIABLE is not set"),
        (
            {"ray": "read_sql", "arguments": {"sql": "", "connection_factory": {"function": "sqlite3:conect"}}},
            "'sqlite3:conect' cannot be imported",
        ),
    ],
    ids=["package", "packages", "argument", "secret", "function"],
)
def test_a_reader_is_checked_before_anything_is_read(tmp_path: Path, source: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EmbeddingPipeline.from_config(job(tmp_path, "out", "local", source)).plan()


def test_readers_are_those_that_ray_data_has() -> None:
    assert {name for name in dir(ray.data) if name.startswith("read_") and name != "read_api"} == set(public_readers())
    assert set(PACKAGES) <= set(public_readers())
