"""What this process does where it drives a job alone, and how much it takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipelines.config.file import load_config
from pipelines.run.engine import MoreThanFewError
from pipelines.run.local_engine import LocalEngine, local_engine
from pipelines.run.scan import scan
from pipelines.run.stages.job_stages import job_stages
from pipelines.run.stages.stage import Resources, Stage, Work
from pipelines.sinks.factory import make_sink
from pipelines.sources import plan_source

BM25 = {"name": "bm25", "model": "Qdrant/bm25"}


@pytest.fixture
def make_stages(tmp_path: Path) -> Iterator[Callable[..., tuple[list[Stage], list[bytes]]]]:
    """Stages of a job over so many documents, into a Parquet folder that is open."""
    opened = []

    def make(driver: LocalEngine, documents: int, block_rows: int | None = 4) -> tuple[list[Stage], list[bytes]]:
        rows = ({"id": f"d{number}", "text": f"word{number}"} for number in range(documents))
        (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        config = load_config(
            {
                "source": {"path": str(tmp_path / "corpus.jsonl"), "id": "id"},
                "embeddings": [BM25],
                "sink": {"type": "parquet", "path": str(tmp_path / "out")},
                "compute": {} if block_rows is None else {"block_rows": block_rows},
                "report": str(tmp_path / "report.json"),
            }
        )
        from pipelines.embed.checked import JobEmbedders

        sink = make_sink(config.sink[0])
        sink.open(JobEmbedders().facts(config))
        opened.append(sink)
        scanned = scan(plan_source(config.source).splits, config.source, driver.map)
        return job_stages(config, driver.place(config), [sink], "run", driver.counter), scanned.tasks

    yield make
    for sink in opened:
        sink.finish(completed=False)


MakeStages = Callable[..., tuple[list[Stage], list[bytes]]]


def test_this_process_alone_reads_embeds_and_writes_block_by_block(make_stages: MakeStages, tmp_path: Path) -> None:
    with local_engine() as driver:
        stages, tasks = make_stages(driver, 10)
        with driver.drive(stages, tasks) as tables:
            receipts = [table.to_pylist()[0]["written"] for table in tables]
    assert receipts == [4, 4, 2]
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 3
    assert driver.counter.read()["bm25"]["rows"] == 10


@pytest.mark.parametrize(("block_rows", "blocks"), [(None, [4096, 204]), (1024, [1024, 1024, 1024, 1024, 204])])
def test_blocks_are_larger_where_no_neural_network_runs_unless_their_rows_are_chosen(
    block_rows: int | None, blocks: list[int], make_stages: MakeStages
) -> None:
    with local_engine() as driver:
        stages, tasks = make_stages(driver, 4300, block_rows)
        with driver.drive(stages, tasks) as tables:
            assert [table.to_pylist()[0]["written"] for table in tables] == blocks


def test_more_than_it_takes_is_left_before_anything_is_embedded(make_stages: MakeStages, tmp_path: Path) -> None:
    with local_engine((9, 1 << 20)) as driver:
        stages, tasks = make_stages(driver, 10)
        with pytest.raises(MoreThanFewError, match="more than 9 rows"):
            driver.drive(stages, tasks).__enter__()
    assert "bm25" not in driver.counter.read()
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_more_bytes_than_it_takes_are_left_too(make_stages: MakeStages) -> None:
    with local_engine((10, 100)) as driver, pytest.raises(MoreThanFewError, match="100 bytes"):
        driver.drive(*make_stages(driver, 10)).__enter__()


def test_as_much_as_it_takes_is_taken(make_stages: MakeStages) -> None:
    with local_engine((10, 1 << 20)) as driver:
        stages, tasks = make_stages(driver, 10)
        with driver.drive(stages, tasks) as tables:
            assert sum(table["written"][0].as_py() for table in tables) == 10


@dataclass(frozen=True)
class Noted:
    """A stage that passes tables on, and notes when it is closed."""

    log: list[str]
    name: str = "noted"
    takes: frozenset[str] = frozenset()
    gives: frozenset[str] = frozenset()
    keeps: bool = True
    resources: Resources = field(default_factory=lambda: Resources(actors=True))

    @contextmanager
    def open(self) -> Iterator[Work]:
        try:
            yield lambda tables: tables
        finally:
            self.log.append("closed")


def test_stages_are_closed_when_the_reader_of_their_tables_fails() -> None:
    log: list[str] = []
    with local_engine() as driver, suppress(KeyError), driver.drive([Noted(log)], [b"a", b"b"]) as tables:
        next(tables)
        assert not log
        raise KeyError
    assert log == ["closed"]
