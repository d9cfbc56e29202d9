"""Folders that a datasink of Parquet files leaves: whole or untouched, and read by any reader."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from ray.data.block import BlockAccessor

from pipelines.errors import ConfigError, SinkError, TooManyErrorsError
from pipelines.filesystem import TEMPORARY
from pipelines.ray_data import parquet_commit
from pipelines.ray_data.arrow_blocks import to_table
from pipelines.ray_data.parquet_datasink import ParquetDatasink
from pipelines.rows import ERROR_TYPE
from pipelines.sinks.parquet.files import METADATA_KEY
from tests.conftest import ROOT
from tests.pipelines.ray_data.driven import drive


def block(first: int, rows: int = 10) -> pa.Table:
    """Rows as a function that gives NumPy arrays leaves them."""
    numbers = np.arange(first, first + rows)
    vectors = np.tile(numbers[:, None], (1, 4)).astype(np.float32)
    return BlockAccessor.batch_to_arrow_block({"id": numbers, "text": [f"t{n}" for n in numbers], "dense": vectors})


def held(folder: Path) -> dict[int, float]:
    """The first number of each row's vector, by id; fails where an id is there twice."""
    rows = pq.read_table(folder).to_pylist()
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row["dense"][0] for row in rows}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_readers_take_the_folder_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "vectors"
    report = drive(ParquetDatasink(str(folder), metadata={"made": "today"}), [block(0), block(10)], [block(20)])
    assert (report.rows, report.written, report.files) == (30, 30, 2)
    assert all(name.startswith("part-") and name.endswith(".parquet") for name in names(folder))
    wanted = {n: float(n) for n in range(30)}
    assert held(folder) == wanted
    schema = ds.dataset(folder).schema
    assert schema.field("dense").type.list_size == 4 and schema.metadata == {b"made": b"today"}
    frame = pd.read_parquet(folder)
    assert dict(zip(frame["id"], (vector[0] for vector in frame["dense"]), strict=True)) == wanted
    query = f"SELECT id, dense[1] FROM '{folder}/*.parquet'"
    assert dict(duckdb.sql(query).fetchall()) == wanted


def test_modes(tmp_path: Path) -> None:
    folder = tmp_path / "vectors"
    drive(ParquetDatasink(str(folder)), [block(0)], [block(10)])
    drive(ParquetDatasink(str(folder)), [block(20)])
    assert set(held(folder)) == set(range(30))
    with pytest.raises(SinkError, match="holds 3 Parquet files already"):
        drive(ParquetDatasink(str(folder), mode="error"), [block(0)])
    newer = block(5, 30)
    newer = newer.set_column(2, "dense", pa.array([[-1.0] * 4] * 30, pa.list_(pa.float32(), 4)))
    for _ in range(2):
        # Rows that come twice, too, are there once.
        report = drive(ParquetDatasink(str(folder), mode="upsert", id="id"), [newer], [newer.slice(0, 3)])
        assert held(folder) == {n: float(n) if n < 5 else -1.0 for n in range(35)}
    assert report.rows == 33 and len(names(folder)) == 3
    drive(ParquetDatasink(str(folder), mode="overwrite"), [block(7, 1)])
    assert held(folder) == {7: 7.0}


def test_columns_of_nulls_and_other_columns(tmp_path: Path) -> None:
    folder = tmp_path / "vectors"
    some = [pa.table({"id": [n], "x": [value]}) for n, value in enumerate((None, "s", None))]
    drive(ParquetDatasink(str(folder)), *([one] for one in some))
    assert {pq.read_schema(folder / name).field("x").type for name in names(folder)} == {pa.string()}
    before = names(folder)
    for other, message in (
        ({"id": [1], "y": ["s"]}, "does not fit: its columns are id int64, x string, and with"),
        ({"id": [1], "x": [[1]]}, "types that do not go together"),
    ):
        with pytest.raises(SinkError, match=message):
            drive(ParquetDatasink(str(folder)), [pa.table(other)])
        assert names(folder) == before
    job = pa.table({"id": [1]}).replace_schema_metadata({"fleetembed": '{"fingerprint": "f"}'})
    drive(ParquetDatasink(str(tmp_path / "other")), [job])
    metadata = pq.read_schema(next((tmp_path / "other").iterdir())).metadata
    assert metadata == {b"fleetembed_provenance": b'{"fingerprint": "f"}'}
    pq.write_table(job, folder / "a.parquet")
    with pytest.raises(SinkError, match="is the folder of a fleetembed job's Parquet sink"):
        drive(ParquetDatasink(str(folder)), [block(0)])


def test_a_write_that_fails_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "vectors"
    drive(ParquetDatasink(str(folder)), [block(0)])
    before = names(folder)

    def broken() -> Any:
        yield block(100)
        raise ValueError("lost")

    with pytest.raises((ValueError, SinkError), match="lost"):
        drive(ParquetDatasink(str(folder), mode="overwrite"), [block(50)], broken())
    assert names(folder) == before and "what was there before stays" in caplog.text
    errors = pa.array([None] * 8 + [{"stage": "embed", "type": "Poison", "message": "no"}] * 2, ERROR_TYPE)
    dead = block(30).append_column("error", errors)
    with pytest.raises(TooManyErrorsError, match=r"2 of 10 rows could not be written.*Nothing is written"):
        drive(ParquetDatasink(str(folder)), [dead])
    assert names(folder) == before
    letters = tmp_path / "dead"
    report = drive(ParquetDatasink(str(folder), dead_letters=str(letters), max_error_rate=0.5), [dead])
    assert (report.written, report.dead) == (8, 2)
    assert set(held(folder)) == {*range(10), *range(30, 38)} and "error" not in pq.read_table(folder).column_names
    assert pq.read_table(letters)["document_id"].to_pylist() == ["38", "39"]


def test_a_staged_file_is_no_part_of_what_readers_of_all_folders_find(tmp_path: Path) -> None:
    folder = tmp_path / "vectors"
    drive(ParquetDatasink(str(folder)), [block(0)])
    going_on = ParquetDatasink(str(folder))
    going_on.on_write_start()
    context: Any = SimpleNamespace(task_idx=0, kwargs={})
    going_on.write([block(100)], context)
    assert duckdb.sql(f"SELECT count(*) FROM '{folder}/**/*.parquet'").fetchall() == [(10,)]
    # What who interrupts a write calls, since Ray does not.
    going_on.on_write_failed(KeyboardInterrupt())
    assert going_on.report is not None and going_on.report.error == "KeyboardInterrupt"
    assert pl.read_parquet(folder).height == 10


KILLED = """
import os, pickle, signal, sys
from pipelines.ray_data import parquet_commit
from pipelines.ray_data.parquet_datasink import ParquetDatasink
from tests.pipelines.ray_data.driven import drive

folder, step, mode, tasks = sys.argv[1], int(sys.argv[2]), sys.argv[3], pickle.load(sys.stdin.buffer)
carry_out, steps = parquet_commit._carry_out, iter(range(100))

class Killed:
    "A file system in whose steps the process is killed."

    def __init__(self, filesystem):
        self.filesystem = filesystem

    def __getattr__(self, name):
        if name in ("move", "delete_file", "delete_dir") and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return getattr(self.filesystem, name)

parquet_commit._carry_out = lambda filesystem, *rest: carry_out(Killed(filesystem), *rest)
drive(ParquetDatasink(folder, mode=mode, id="id" if mode == "upsert" else None), *tasks)
"""


@pytest.mark.parametrize(("mode", "step"), [("upsert", 1), ("overwrite", 3)])
def test_a_commit_whose_process_was_killed_is_completed_by_the_next_write(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: str, step: int
) -> None:
    folder = tmp_path / "vectors"
    drive(ParquetDatasink(str(folder)), [block(0, 5)], [block(5, 5)])
    newer = [block(0, 3).set_column(2, "dense", pa.array([[-1.0] * 4] * 3, pa.list_(pa.float32(), 4)))]
    tasks = pickle.dumps([[to_table(one) for one in some] for some in (newer, [block(50)])])
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(step), mode], input=tasks, cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    drive(ParquetDatasink(str(folder)), [block(90)])
    assert "was interrupted, and is complete now" in caplog.text
    kept = {n: float(n) for n in (*range(3, 10), *range(50, 60), *range(90, 100))}
    if mode == "overwrite":
        kept = {n: number for n, number in kept.items() if n >= 50}
    assert held(folder) == {**kept, 0: -1.0, 1: -1.0, 2: -1.0}
    assert not [name for name in names(folder) if not name.endswith(".parquet")]


def test_a_commit_that_was_interrupted_is_completed_by_the_next_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "vectors"
    drive(ParquetDatasink(str(folder)), [block(0)])

    def power_cut(*_: Any) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(parquet_commit, "_carry_out", power_cut)
        with pytest.raises(SinkError, match="cannot be committed: OSError: power cut"):
            drive(ParquetDatasink(str(folder), mode="overwrite"), [block(50)], [block(60)])
    assert set(held(folder)) == set(range(10)) and "the next write to this folder completes it" in caplog.text
    drive(ParquetDatasink(str(folder)), [block(90)])
    assert set(held(folder)) == {*range(50, 70), *range(90, 100)}
    assert not [name for name in names(folder) if not name.endswith(".parquet")]


def test_arguments_that_do_not_fit_are_told(tmp_path: Path) -> None:
    for arguments, message in (
        ({"mode": "replace"}, "mode 'replace' is none of append, overwrite, upsert, error"),
        ({"mode": "upsert"}, "go together"),
        ({"id": "id"}, "go together"),
        ({"max_error_rate": -1}, "is not from 0 to 1"),
        ({"metadata": {"a": 1}}, "metadata is texts by key, and 'a' has 1"),
        ({"metadata": "made today"}, "metadata is texts by key, not 'made today'"),
        ({"metadata": {"fleetembed": "{}"}}, "the key 'fleetembed' of metadata is that of a job's files"),
    ):
        with pytest.raises(ConfigError, match=message):
            ParquetDatasink(str(tmp_path), **arguments)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="path is empty"):
        ParquetDatasink("")
    with pytest.raises(ConfigError, match="id: the dataset has no column 'uid'"):
        drive(ParquetDatasink(str(tmp_path / "v"), mode="upsert", id="uid"), [block(0)])


def test_upsert_keeps_the_rows_of_files_whose_long_names_end_alike(tmp_path: Path) -> None:
    for letter, ids in (("a", [1, 2]), ("b", [3, 4])):
        pq.write_table(pa.table({"id": ids, "v": ids}), tmp_path / f"{letter}{'x' * 90}.parquet")
    drive(ParquetDatasink(tmp_path, mode="upsert", id="id"), [pa.table({"id": [1, 3], "v": [10, 30]})])
    rows = pq.read_table(tmp_path).to_pylist()
    assert sorted((row["id"], row["v"]) for row in rows) == [(1, 10), (2, 2), (3, 30), (4, 4)]


@pytest.mark.parametrize("journal", ['{"names": ["par', "[]", '{"names": [], "leaving": ["../../precious.txt"]}'])
def test_a_commit_that_cannot_be_read_changes_nothing_and_says_what_to_do(tmp_path: Path, journal: str) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    staging = tmp_path / "a" / "vectors" / TEMPORARY / "run"
    staging.mkdir(parents=True)
    (staging / parquet_commit.JOURNAL).write_text(journal)
    with pytest.raises(
        SinkError, match=r"is no list of files that a write was to commit; see whether .*, and remove it"
    ):
        drive(ParquetDatasink(str(tmp_path / "a" / "vectors")), [block(0)])
    assert precious.read_text() == "mine" and (staging / parquet_commit.JOURNAL).read_text() == journal


def test_a_damaged_file_is_named_and_overwritten_but_no_job_s_file_is(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 cut")
    for mode, id in (("append", None), ("upsert", "id")):
        with pytest.raises(
            SinkError, match=r"a.parquet in it is no Parquet file .*; remove it, or choose another path"
        ):
            drive(ParquetDatasink(str(tmp_path), mode=mode, id=id), [block(0)])  # type: ignore[arg-type]
    drive(ParquetDatasink(str(tmp_path), mode="overwrite"), [block(0)])
    assert held(tmp_path) == {n: float(n) for n in range(10)}
    # Behind others in the folder, too.
    job = pa.table({"id": [1]}).replace_schema_metadata({METADATA_KEY: b'{"fingerprint": "f"}'})
    pq.write_table(job, tmp_path / "z.parquet")
    with pytest.raises(SinkError, match="the folder of a fleetembed job's Parquet sink"):
        drive(ParquetDatasink(str(tmp_path), mode="overwrite"), [block(0)])
    assert (tmp_path / "z.parquet").exists()
