from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from embedders.arrow import dense_array
from pipelines.rows import IMAGE_COLUMN, RowError, add_errors
from pipelines.run.stages.held import HELD_COLUMN, codes_of, pack_codes, unpack_codes
from pipelines.run.stages.skip import SkipStage
from pipelines.run.stages.write import WriteStage
from pipelines.run.tally import Tally
from pipelines.sinks.base import Held, JobFacts
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


def test_a_row_whose_vectors_went_from_the_sink_that_had_them_is_dead_and_says_what_to_do(tmp_path: Path) -> None:
    facts = JobFacts("corpus", "0" * 64, {"dense": DENSE}, {"dense": "m"}, {"dense": "0" * 64})
    table = rows(["there", "gone"], **{IMAGE_COLUMN: None}).append_column("dense", dense_array(np.ones((2, 2), "f4")))
    sinks = [make_sink(ParquetSinkConfig(type="parquet", path=str(tmp_path / name))) for name in ("one", "two")]
    sinks[0].open(facts)
    with closing(sinks[0].connect()) as writer:
        writer.write(table.slice(0, 1))
        writer.write(table.slice(1))
    sinks[0].finish(completed=True)
    for sink in sinks:
        sink.open(facts)
    asked = through(SkipStage(sinks, Tally()), table.drop_columns([HELD_COLUMN, "dense"]))
    assert codes_of(asked).tolist() == [[Held.SAME, Held.LACKS]] * 2
    for path in (tmp_path / "one").glob("part-*"):
        if pq.read_table(path, partitioning=None)["text"].to_pylist() == ["gone"]:
            path.unlink()
    bare = asked.append_column("dense", pa.nulls(2, DENSE.arrow_type))
    receipt = through(WriteStage(sinks, str(tmp_path / "dead"), "r", ["dense"], Tally()), bare).to_pylist()[0]
    counted = [receipt[name] for name in ("embedded", "copied", "payload_only", "written", "dead")]
    assert counted == [0, 1, 0, 1, 1]
    assert "VectorsGone" in receipt["samples"][0] and "run the job again" in receipt["samples"][0]
    (found,) = (tmp_path / "two").glob("part-*")
    assert pq.read_table(found, partitioning=None)["dense"].to_pylist() == [[1.0, 1.0]]


@given(st.integers(0, 20).flatmap(lambda n: st.lists(st.lists(st.sampled_from(Held), min_size=n, max_size=n))))
def test_codes_written_down_are_those_that_are_read(codes: list[list[int]]) -> None:
    matrix = np.array(codes, np.uint8).reshape(len(codes), -1 if codes and codes[0] else 0)
    np.testing.assert_array_equal(unpack_codes(pack_codes(matrix), matrix.shape), matrix)
