from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from embedders.arrow import dense_array
from pipelines.rows import IMAGE_COLUMN, RowError, add_errors
from pipelines.run.stages.skip import SkipStage
from pipelines.run.stages.write import WriteStage
from pipelines.run.tally import Tally
from pipelines.sinks.base import JobFacts
from pipelines.sinks.factory import make_sink
from pipelines.sinks.parquet.config import ParquetSinkConfig
from tests.pipelines.run.stages.tables import DENSE, rows, through


def test_written_rows_are_held_and_dead_rows_are_dead_letters(tmp_path: Path) -> None:
    sink = make_sink(ParquetSinkConfig(type="parquet", path=str(tmp_path / "out")))
    facts = JobFacts("corpus", "0" * 64, {"dense": DENSE}, {"dense": "m"}, {"dense": "0" * 64})
    sink.open(facts)
    table = rows(["good", "bad", "fine"], **{IMAGE_COLUMN: b"an image"})
    vectors = dense_array(np.ones((3, 2), np.float32))
    table = add_errors(table.append_column("dense", vectors), {1: RowError("dense", "ValueError", "no")})
    tally = Tally()
    receipt = through(WriteStage([sink], str(tmp_path / "dead"), "r", ["dense"], tally), table).to_pylist()[0]
    assert (receipt["written"], receipt["dead"], receipt["documents"]) == (2, 1, 3)
    assert "'d1'" in receipt["samples"][0] and "ValueError: no" in receipt["samples"][0]
    dead = pq.read_table(next((tmp_path / "dead").glob("*.parquet"))).to_pylist()
    assert [(row["document_id"], row["text"]) for row in dead] == [("d1", "bad")]
    sink.finish(completed=True)
    again = make_sink(ParquetSinkConfig(type="parquet", path=str(tmp_path / "out")))
    again.open(facts)
    assert not [path for path in tmp_path.rglob("*.parquet") if b"an image" in path.read_bytes()]
    left = through(SkipStage([again], tally), rows(["good", "bad", "changed"], **{IMAGE_COLUMN: b"an image"}))
    assert left["document_id"].to_pylist() == ["d1", "d2"]
    assert tally.read()["skip"]["rows"] == 1
