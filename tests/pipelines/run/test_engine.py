"""Which engine takes a job, and that this process drives it as Ray does."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.config.file import load_config
from pipelines.config.job import JobConfig
from pipelines.run import engine
from pipelines.run.engine import FEW_ROWS, QUICKLY_READ_BYTES, MoreThanFewError, choose_engines
from pipelines.run.local_engine import LocalEngine, local_engine
from pipelines.run.scan import scan
from pipelines.run.stage import Stage
from pipelines.run.stages import job_stages
from pipelines.sinks.factory import make_sink
from pipelines.sources import SourcePlan, Split, plan_source

BM25 = {"name": "bm25", "model": "Qdrant/bm25"}
CLIP = {"name": "clip", "model": "Qdrant/clip-ViT-B-32-vision"}


@pytest.fixture(autouse=True)
def _no_ray_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier test of the session may have started one."""
    monkeypatch.setattr(engine, "running_ray", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def job(embedding: dict[str, Any] = BM25, **compute: Any) -> JobConfig:
    return load_config(
        {
            "source": {"path": "x.jsonl"},
            "embeddings": [embedding],
            "sink": {"type": "parquet", "path": "out"},
            "compute": compute,
        }
    )


def source(size: int) -> SourcePlan:
    return SourcePlan((Split("r", "p", "n", "jsonl", bytes=size),))


def test_a_small_source_is_tried_in_this_process_and_then_left_to_ray() -> None:
    first, *rest = choose_engines(job(), source(1000))
    with first() as tried:
        assert (type(tried), tried.most_rows) == (LocalEngine, FEW_ROWS)
    assert len(rest) == 1
    assert len(choose_engines(job(), source(QUICKLY_READ_BYTES + 1))) == 1


def test_of_images_this_process_takes_none() -> None:
    with choose_engines(job(CLIP), source(1000))[0]() as tried:
        assert tried.most_rows == 0


@pytest.mark.parametrize(
    "compute",
    [
        {"engine": "ray"},
        {"address": "127.0.0.1:6379"},
        {"cpus": 2},
        {"stages": {"bm25": {"workers": 2}}},
        {"stages": {"bm25": {"gpus": 1}}},
    ],
)
def test_a_job_that_asks_for_ray_is_left_to_it_alone(compute: dict[str, Any]) -> None:
    assert len(choose_engines(job(**compute), source(1000))) == 1


def test_threads_and_token_budgets_ask_for_nothing_that_only_ray_can_do() -> None:
    assert len(choose_engines(job(stages={"bm25": {"threads": 2, "token_budget": 9}}), source(1000))) == 2


def test_a_ray_that_runs_or_is_named_in_the_environment_takes_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    assert len(choose_engines(job(), source(1000))) == 1
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setattr(engine, "running_ray", lambda: os)
    assert len(choose_engines(job(), source(1000))) == 1
    (only,) = choose_engines(job(engine="local"), source(1000))
    with only() as driver:
        assert type(driver) is LocalEngine and driver.most_rows is None


@pytest.fixture
def make_stages(tmp_path: Path) -> Iterator[Callable[[LocalEngine, int], tuple[list[Stage], list[bytes]]]]:
    """Stages of a job over so many documents, into a Parquet folder that is open."""
    opened = []

    def make(driver: LocalEngine, documents: int) -> tuple[list[Stage], list[bytes]]:
        rows = ({"id": f"d{number}", "text": f"word{number}"} for number in range(documents))
        (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        config = load_config(
            {
                "source": {"path": str(tmp_path / "corpus.jsonl"), "id": "id"},
                "embeddings": [BM25],
                "sink": {"type": "parquet", "path": str(tmp_path / "out")},
                "compute": {"block_rows": 4},
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


MakeStages = Callable[[LocalEngine, int], tuple[list[Stage], list[bytes]]]


def test_this_process_alone_reads_embeds_and_writes_block_by_block(make_stages: MakeStages, tmp_path: Path) -> None:
    with local_engine() as driver:
        receipts = [table.to_pylist()[0]["written"] for table in driver.drive(*make_stages(driver, 10))]
    assert receipts == [4, 4, 2]
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 3
    assert driver.counter.read()["bm25"]["rows"] == 10


def test_more_than_it_takes_is_left_before_anything_is_embedded(make_stages: MakeStages, tmp_path: Path) -> None:
    with local_engine((9, 1 << 20)) as driver:
        stages, tasks = make_stages(driver, 10)
        with pytest.raises(MoreThanFewError, match="more than 9 rows"):
            driver.drive(stages, tasks)
    assert "bm25" not in driver.counter.read()
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_more_bytes_than_it_takes_are_left_too(make_stages: MakeStages) -> None:
    with local_engine((10, 100)) as driver, pytest.raises(MoreThanFewError, match="100 bytes"):
        driver.drive(*make_stages(driver, 10))


def test_as_much_as_it_takes_is_taken(make_stages: MakeStages) -> None:
    with local_engine((10, 1 << 20)) as driver:
        assert sum(table["written"][0].as_py() for table in driver.drive(*make_stages(driver, 10))) == 10
