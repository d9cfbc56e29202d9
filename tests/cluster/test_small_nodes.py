"""Jobs where no node has two CPUs: readers share a CPU with what else is at work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.dataset as pads
import pytest

from embedders.errors import FleetembedError
from pipelines import EmbeddingPipeline
from tests.cluster.nodes import cluster
from tests.cluster.placed_job import do_each
from tests.cluster.running_job import dense, start_job, write_corpus
from tests.waiting import SECONDS

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROWS = 120


def job(folder: Path, model: Path, **compute: Any) -> dict[str, Any]:
    rows = [{"id": f"d{number}", "text": f"bats sleep in cave {number}"} for number in range(ROWS)]
    return {
        "source": {"path": str(write_corpus(folder, rows, files=3)), "id": "id"},
        "embeddings": [*dense(model), {"name": "bm25", "model": "Qdrant/bm25"}],
        "sink": {"type": "parquet", "path": str(folder / "out")},
        "report": str(folder / "report.json"),
        "compute": {"block_rows": 20, "stall_seconds": SECONDS, **compute},
    }


def test_two_nodes_of_one_cpu_beside_a_head_without_any_carry_a_job_out(minilm: Path, tmp_path: Path) -> None:
    with cluster(num_cpus=0) as nodes:
        nodes.add(num_cpus=1)
        nodes.add(num_cpus=1)
        config = job(tmp_path, minilm)
        planned, outcome = do_each(nodes.address, ("plan", config), ("run", config))
    assert "2 nodes of 1 CPU" in planned["placement"][0]
    assert outcome["report"]["rows"]["written"] == ROWS, outcome
    assert pads.dataset(tmp_path / "out").count_rows() == ROWS


def test_a_local_ray_of_one_cpu_carries_a_job_out(minilm: Path, tmp_path: Path) -> None:
    with start_job(tmp_path, job(tmp_path, minilm, engine="ray", cpus=1)) as running:
        assert running.end() == 0, running.output
    assert json.loads((tmp_path / "report.json").read_text())["rows"]["written"] == ROWS


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"workers": 4, "cpus": 1}, "the actors would hold 4.11 of 2 CPUs (dense: 4 x 1 CPU"),
        ({"gpus": 1}, "compute.stages asks for 1 GPU (dense: 1 x 1) and Ray sees 0"),
    ],
)
def test_a_plan_for_a_local_ray_refuses_what_the_run_refuses(
    minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: dict[str, Any], words: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("pipelines.run.placement.plan.running_ray", lambda: None)
    config = job(tmp_path, minilm, cpus=2, stages={"dense": stage})
    with pytest.raises(FleetembedError) as refused:
        EmbeddingPipeline.from_config({**config, "corpus": "test"}).plan()
    told = str(refused.value)
    assert told.startswith(words)
    with start_job(tmp_path, config) as running:
        assert running.end() == 1
    assert running.report["error"] == told
