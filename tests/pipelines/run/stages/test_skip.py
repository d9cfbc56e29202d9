from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embedders.arrow import dense_array
from pipelines.rows import IMAGE_COLUMN
from pipelines.run.stages.held import codes_of
from pipelines.run.stages.skip import SkipStage
from pipelines.run.tally import Tally
from pipelines.sinks.base import JobFacts
from pipelines.sinks.factory import make_sink
from pipelines.sinks.parquet.config import ParquetSinkConfig
from tests.pipelines.run.stages.tables import DENSE, rows, through


class RunAgain(Tally):
    """A tally of tasks that are run again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.decided: dict[str, bytes] = {}

    def decide(self, question: str, answer: bytes) -> tuple[bytes, bool]:
        new = question not in self.decided
        return self.decided.setdefault(question, answer), new


def test_a_task_that_runs_again_drops_what_it_dropped_before_and_not_what_the_run_has_written_since(
    tmp_path: Path,
) -> None:
    facts = JobFacts("corpus", "0" * 64, {"dense": DENSE}, {"dense": "m"}, {"dense": "0" * 64})

    def opened() -> Any:
        sink = make_sink(ParquetSinkConfig(type="parquet", path=str(tmp_path / "out")))
        sink.open(facts)
        return sink

    def write(table: pa.Table) -> None:
        sink = opened()
        with closing(sink.connect()) as writer:
            writer.write(table.append_column("dense", dense_array(np.ones((table.num_rows, 2), np.float32))))
        sink.finish(completed=True)

    table, tally = rows(["held before", "new", "new too"], **{IMAGE_COLUMN: None}), RunAgain()
    write(table.slice(0, 1).drop_columns([IMAGE_COLUMN]))
    first = through(SkipStage([opened()], tally), table)
    assert first["text"].to_pylist() == ["new", "new too"]
    write(table.slice(1, 1).drop_columns([IMAGE_COLUMN]))
    assert through(SkipStage([opened()], tally), table).equals(first)
    figures = tally.read()["skip"]
    assert (figures["rows"], figures["documents"]) == (1, 1)
    assert (figures["reread_documents"], figures["reread_rows"]) == (3, 3)


def test_a_task_that_is_given_other_rows_when_it_runs_again_keeps_all_of_them(tmp_path: Path) -> None:
    facts = JobFacts("corpus", "0" * 64, {"dense": DENSE}, {"dense": "m"}, {"dense": "0" * 64})
    sink = make_sink(ParquetSinkConfig(type="parquet", path=str(tmp_path / "out")))
    sink.open(facts)
    table, tally = rows([f"text {n}" for n in range(9)], **{IMAGE_COLUMN: None}), RunAgain()
    with closing(sink.connect()) as writer:
        held = table.drop_columns([IMAGE_COLUMN]).append_column("dense", dense_array(np.ones((9, 2), np.float32)))
        writer.write(held)
    sink.finish(completed=True)
    sink.open(facts)
    stage = SkipStage([sink], tally)
    assert through(stage, table.slice(0, 6)).num_rows == 0
    # A point more, a point less, as many others: nothing of what was decided is about them.
    for other in (table.slice(0, 7), table.slice(0, 5), table.slice(1, 6)):
        kept = through(stage, other)
        assert kept["id"].to_pylist() == other["id"].to_pylist() and not codes_of(kept).any()
    assert through(stage, table.slice(0, 6)).num_rows == 0
