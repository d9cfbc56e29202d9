"""A process that sees another folder of the driver's folder's name writes nothing there."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pytest

from embedders.arrow import dense_array
from pipelines.errors import SinkError
from pipelines.rows import RowError, add_errors
from pipelines.run.stages.write import WriteStage
from pipelines.run.tally import Tally
from pipelines.sinks.base import JobFacts
from pipelines.sinks.folder_mark import marked
from pipelines.sinks.parquet.config import ParquetSinkConfig
from pipelines.sinks.parquet.sink import ParquetSink
from tests.pipelines.run.stages.tables import DENSE, through
from tests.pipelines.run.stages.tables import rows as stage_rows
from tests.pipelines.sinks import rows

WORKER = """
import pickle, sys
sink, table = pickle.load(sys.stdin.buffer)
print(sink.connect().write(table).written)
"""
UNSEEN = r"this machine \(.+\) does not see the folder .*of the driver.*object store"


def write_elsewhere(sink: ParquetSink, table: Any) -> subprocess.CompletedProcess[bytes]:
    """Write by a worker process that was started for it."""
    return subprocess.run([sys.executable, "-c", WORKER], input=pickle.dumps((sink, table)), capture_output=True)


def test_a_worker_that_sees_an_empty_folder_of_the_same_name_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    sink = ParquetSink(ParquetSinkConfig(type="parquet", path=str(folder)))
    job = rows.job()
    sink.open(job)
    first, second = rows.table(job, rows.documents(5)), rows.table(job, rows.documents(9)[5:])
    assert write_elsewhere(sink, first).stdout == b"5\n"
    folder.rename(tmp_path / "the driver's")
    with pytest.raises(SinkError, match=UNSEEN):
        sink.connect().write(second)
    assert not folder.exists()
    folder.mkdir()
    refused = write_elsewhere(sink, second)
    assert refused.returncode and b"does not see the folder" in refused.stderr
    assert not list(folder.iterdir())
    folder.rmdir()
    (tmp_path / "the driver's").rename(folder)
    assert sink.connect().write(second).written == 4
    assert sink.finish(completed=True)["points"] == 9
    assert ds.dataset(folder).to_table().num_rows == 9
    assert not list(folder.glob("_seen*"))


def test_marks_of_a_killed_run_are_gone_after_the_next_and_that_of_a_failed_one_at_once(tmp_path: Path) -> None:
    for end in ("killed", "failed", "complete"):
        sink = ParquetSink(ParquetSinkConfig(type="parquet", path=str(tmp_path)))
        sink.open(rows.job())
        if end != "killed":
            sink.finish(completed=end == "complete")
        assert len(list(tmp_path.glob("_seen*"))) == (0 if end == "complete" else 1)


def test_dead_letters_are_refused_by_a_worker_that_does_not_see_the_drivers_folder(tmp_path: Path) -> None:
    sink = ParquetSink(ParquetSinkConfig(type="parquet", path=str(tmp_path / "out")))
    sink.open(JobFacts("corpus", "0" * 64, {"dense": DENSE}, {"dense": "m"}, {"dense": "0" * 64}))
    table = stage_rows(["good", "bad"]).append_column("dense", dense_array(np.ones((2, 2), np.float32)))
    table = add_errors(table, {1: RowError("dense", "ValueError", "no")})
    letters = tmp_path / "deep" / "letters"
    with marked(str(letters)) as mark:
        stage = WriteStage([sink], str(letters), "r", ["dense"], Tally(), pickle.loads(pickle.dumps(mark)))
        assert through(stage, table)["dead"].to_pylist() == [1]
        letters.rename(tmp_path / "the driver's")
        letters.mkdir()
        with pytest.raises(SinkError, match=UNSEEN):
            through(stage, table)
        assert not list(letters.iterdir())
        letters.rmdir()
        (tmp_path / "the driver's").rename(letters)
    assert [path.suffix for path in letters.iterdir() if path.is_file()] == [".parquet"]


def test_a_folder_of_dead_letters_without_any_is_gone_after_the_run_unless_it_was_there(tmp_path: Path) -> None:
    for there in (False, True):
        letters = tmp_path / f"{there}"
        if there:
            letters.mkdir()
        with marked(str(letters)):
            assert len(list(letters.iterdir())) == 1
        assert letters.exists() == there and not list(letters.rglob("*"))


def test_a_folder_of_dead_letters_that_cannot_be_made_is_told_before_any_row_is_embedded(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match=r"dead letters cannot be written to .*file"), marked(str(tmp_path / "file")):
        raise AssertionError("it was marked")
