from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from embedders.arrow import dense_array
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.embed.row_embedder import RowEmbedder
from pipelines.rows import IDENTIFIED_SCHEMA, IMAGE_COLUMN, set_column
from pipelines.run.placement.pools import Pool
from pipelines.run.stages.block import BlockStage
from pipelines.run.stages.embed import EmbedStage
from pipelines.run.stages.held import HELD_COLUMN, codes_of
from pipelines.run.stages.skip import SkipStage
from pipelines.run.stages.stage import Resources, open_stages
from pipelines.run.stages.write import WriteStage
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


@pytest.mark.parametrize("block_rows", [1, 3])
def test_a_row_whose_moved_vectors_are_gone_when_its_task_runs_again_is_embedded_and_no_table_changes(
    tmp_path: Path, block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding = EmbeddingConfig(name="bm25", model="Qdrant/bm25", options={"avg_len": 2.0})
    pool = Pool("bm25", (embedding,), Resources())
    vectors = RowEmbedder(embedding).vectors
    facts = JobFacts("corpus", "0" * 64, vectors, {"bm25": "m"}, {"bm25": "0" * 64})
    section = ParquetSinkConfig(type="parquet", path=str(tmp_path / "out"), reuse_moved=True)

    def opened() -> Any:
        sink = make_sink(section)
        sink.open(facts)
        return sink

    def run(sink: Any, table: pa.Table, tally: Tally) -> tuple[list[pa.Table], dict[str, int]]:
        stages = [SkipStage([sink], tally, [0], vectors), BlockStage(block_rows, tally)]
        embed = EmbedStage(pool, tally, vectors=vectors)
        write = WriteStage([sink], str(tmp_path / "dead"), "r", ["bm25"], tally)
        with open_stages(stages) as read, open_stages([embed]) as work:
            embedded = list(work(read(iter([table]))))
        receipts = pa.concat_tables([through(write, some) for some in embedded]).to_pylist()
        sink.finish(completed=True)
        return embedded, {
            name: sum(row[name] for row in receipts) for name in ("embedded", "copied", "written", "dead")
        }

    table = rows(["one harbour", "two boats"], **{IMAGE_COLUMN: None})
    assert run(opened(), table, RunAgain())[1] == {"embedded": 2, "copied": 0, "written": 2, "dead": 0}
    moved = pa.concat_tables([table, table, rows(["three hills"], **{IMAGE_COLUMN: None})]).slice(2)
    moved = set_column(moved, "id", pa.array([str(number) for number in range(3)]))
    tally = RunAgain()
    shutil.copytree(tmp_path / "out", tmp_path / "kept")
    first, counted = run(opened(), moved, tally)
    assert counted == {"embedded": 1, "copied": 2, "written": 3, "dead": 0}
    shutil.rmtree(tmp_path / "out")
    again, counted = run(opened(), moved, tally)
    assert counted == {"embedded": 3, "copied": 0, "written": 3, "dead": 0}
    names = [*IDENTIFIED_SCHEMA.names, HELD_COLUMN]
    assert [some.select(names).to_pylist() for some in again] == [some.select(names).to_pylist() for some in first]
    # Where there is more than one piece, each row has its vectors fetched apart.
    monkeypatch.setattr("pipelines.run.stages.moved.BLOCK_BYTES", 1)
    shutil.rmtree(tmp_path / "out")
    shutil.copytree(tmp_path / "kept", tmp_path / "out")
    assert run(opened(), moved, RunAgain())[1] == {"embedded": 1, "copied": 2, "written": 3, "dead": 0}


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
