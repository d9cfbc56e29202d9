"""A Ray that a job starts for itself: which processes it has, and what the report says of its start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

JOB = """
import json, sys, time
import psutil, ray
from ray._private import state
from rich.console import Console
from pipelines import EmbeddingPipeline
from pipelines.config.compute import ComputeConfig
from pipelines.run.cluster.connection import connect
from pipelines.run.report.startup import process_began

with connect(ComputeConfig()):
    EmbeddingPipeline.from_config(json.loads(sys.argv[1])).run(console=Console(quiet=True), began=process_began())
    family = [" ".join(one.cmdline()) for one in psutil.Process().children(recursive=True)]
    print(json.dumps({"family": family, "actors": [one["ActorClassName"] for one in state.actors().values()]}))
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_local_ray_has_no_process_that_serves_a_cluster_or_onlookers(tmp_path: Path) -> None:
    rows = [{"id": str(number), "text": f"a text of number {number}"} for number in range(40)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = {
        "source": {"path": str(tmp_path / "in.jsonl"), "id": "id"},
        "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
        "sink": {"type": "parquet", "path": str(tmp_path / "out")},
        "compute": {"engine": "ray", "block_rows": 8},
        "report": str(tmp_path / "report.json"),
    }
    alone = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", JOB, json.dumps(job)], cwd=ROOT, env=alone, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert any("raylet" in process for process in seen["family"])
    assert not [one for one in seen["family"] if one.partition("--")[0].strip().endswith(("board.py", "monitor.py"))]
    ours = ("_NamedTally", "MapWorker(MapBatches(bm25))", "MapWorker(MapBatches(write))")
    assert sorted(seen["actors"]) == sorted(ours)

    report = json.loads((tmp_path / "report.json").read_text())
    assert report["status"] == "complete" and report["rows"]["written"] == 40
    parts = ["imports", "checks", "engine", "preparation", "scan", "sinks", "workers", "models"]
    assert list(report["startup"]) == parts
    assert sum(report["startup"].values()) == pytest.approx(report["startup_seconds"], abs=0.5)
    # Python, Arrow and Ray were imported before the run, and Ray was started.
    assert report["startup"]["imports"] > 0.5 and report["startup"]["workers"] > 0.1
