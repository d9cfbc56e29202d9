"""What a plan says of a job that starts a Ray of its own, without starting it."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from pipelines.config.file import load_config
from pipelines.run.placement.plan import plan_placement


@pytest.fixture(autouse=True)
def _no_ray_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier test of the session may have started one."""
    monkeypatch.setattr("pipelines.run.placement.plan.running_ray", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def planned(**compute: Any) -> list[str]:
    job = {
        "source": {"path": "in.jsonl"},
        "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
        "sink": {"type": "parquet", "path": "out"},
        "compute": compute,
    }
    return plan_placement(load_config(job))


def test_a_job_that_ray_is_sure_to_drive_is_placed_on_this_machine() -> None:
    for compute in ({"engine": "ray", "cpus": 8}, {"cpus": 8}):
        assert planned(**compute) == ["would run on 1 node of 8 CPUs:", "  bm25: 1 actor of 0.4 CPU"]


def test_a_job_that_may_do_without_ray_is_not_placed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nor is Ray imported for it.
    monkeypatch.setitem(sys.modules, "pipelines.run.cluster.connection", None)
    assert planned() == planned(engine="local", cpus=8) == []
