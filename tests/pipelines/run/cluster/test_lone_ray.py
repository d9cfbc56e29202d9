"""A Ray that a job starts for itself: which processes it has, what the report says of its start, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipelines.run.cluster import leftovers
from pipelines.run.cluster.leftovers import RayFolder
from tests.conftest import ROOT
from tests.waiting import SECONDS, wait_until

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
    children = psutil.Process().children(recursive=True)
    family = {one.pid: " ".join(one.cmdline()) for one in children}
    agents = [one.memory_info().rss for one in children if "-S" in one.cmdline()]
    actors = [one["ActorClassName"] for one in state.actors().values()]
    print(json.dumps({"family": family, "agents": agents, "actors": actors}))
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
        [sys.executable, "-c", JOB, json.dumps(job)],
        cwd=ROOT,
        env=alone,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    family = seen["family"].values()
    assert any("raylet" in process for process in family)
    # A raylet names its agents in its own command, behind options.
    programs = [one.partition(" --")[0].strip() for one in family if " -S " not in one.partition(" --")[0]]
    assert not [one for one in programs if one.endswith(("board.py", "monitor.py", "agent.py", "main.py"))]
    assert len(seen["agents"]) == 2 and max(seen["agents"]) < 30 << 20
    wait_until(lambda: not any(map(psutil.pid_exists, map(int, seen["family"]))))
    ours = ("_NamedTally", "MapWorker(MapBatches(bm25))")
    assert sorted(seen["actors"]) == sorted(ours)

    report = json.loads((tmp_path / "report.json").read_text())
    assert report["status"] == "complete" and report["rows"]["written"] == 40
    parts = ["imports", "checks", "engine", "preparation", "scan", "sinks", "workers", "models"]
    assert list(report["startup"]) == parts
    assert sum(report["startup"].values()) == pytest.approx(report["startup_seconds"], abs=0.5)
    # Python, Arrow and Ray were imported before the run, and Ray was started.
    assert report["startup"]["imports"] > 0.5 and report["startup"]["workers"] > 0.1


def test_a_folder_is_closed_at_once_where_nobody_looks_after_the_processes_that_wrote_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "SECONDS_TO_END", SECONDS)
    (tmp_path / "ray").mkdir()
    folder = RayFolder(tmp_path / "ray")
    log = tmp_path / "ray" / "worker.out"
    with log.open("w") as out:
        # Who does not wait for a child of its leaves an entry of it behind, as the first process of a container may.
        worker = subprocess.Popen(
            [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(600)"], stdout=out
        )
    wait_until(log.read_text)
    started = time.monotonic()
    folder.close()
    assert time.monotonic() - started < SECONDS / 2
    assert psutil.Process(worker.pid).status() == psutil.STATUS_ZOMBIE and not (tmp_path / "ray").exists()
    worker.wait(SECONDS)
