"""Which engine takes a job."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pipelines.config.file import load_config
from pipelines.config.job import JobConfig
from pipelines.run.engine_choice import FEW_ROWS, FEW_ROWS_OF_TERMS, QUICKLY_READ_BYTES, choose_engines
from pipelines.run.local_engine import LocalEngine
from pipelines.sources import SourcePlan, Split

MINILM = {"name": "dense", "model": "sentence-transformers/all-MiniLM-L6-v2"}
BM25 = {"name": "bm25", "model": "Qdrant/bm25"}
CLIP = {"name": "clip", "model": "Qdrant/clip-ViT-B-32-vision"}


@pytest.fixture(autouse=True)
def _no_ray_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier test of the session may have started one."""
    monkeypatch.setattr("pipelines.run.placement.plan.running_ray", lambda: None)
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
    first, *rest = choose_engines(job(MINILM), source(1000))
    with first() as tried:
        assert (type(tried), tried.most_rows) == (LocalEngine, FEW_ROWS)
    assert len(rest) == 1
    assert len(choose_engines(job(), source(QUICKLY_READ_BYTES + 1))) == 1


def test_this_process_takes_more_where_no_neural_network_runs() -> None:
    with choose_engines(job(BM25), source(1000))[0]() as tried:
        assert tried.most_rows == FEW_ROWS_OF_TERMS > FEW_ROWS


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
    monkeypatch.setenv("RAY_ADDRESS", "")
    assert len(choose_engines(job(), source(1000))) == 2
    monkeypatch.setattr("pipelines.run.placement.plan.running_ray", lambda: os)
    assert len(choose_engines(job(), source(1000))) == 1
    (only,) = choose_engines(job(engine="local"), source(1000))
    with only() as driver:
        assert type(driver) is LocalEngine and driver.most_rows is None
