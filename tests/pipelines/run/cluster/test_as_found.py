"""A Ray, and a process, are left as they were found, whether the run succeeds or fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private import state
from ray.data import DataContext
from rich.console import Console

from pipelines import EmbeddingPipeline, Searcher, TooManyErrorsError
from tests.conftest import ROOT
from tests.pipelines.run.cluster.process_state import changes, process_state
from tests.waiting import SECONDS, wait_until

pytestmark = pytest.mark.ray


def bm25_job(folder: Path, *further: str | None, **more: Any) -> dict[str, Any]:
    texts = [*(f"text number {number}" for number in range(30)), *further]
    rows = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "source": {"path": str(folder / "corpus.jsonl"), "id": "id"},
        "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
        "sink": {"type": "qdrant", "path": str(folder / "qdrant"), "collection": "docs"},
        "compute": {"engine": "ray"},
        "report": str(folder / "report.json"),
        **more,
    }


def living_actors() -> set[str]:
    actors: dict[str, dict[str, Any]] = state.actors()  # type: ignore[no-untyped-call]
    return {key for key, actor in actors.items() if actor["State"] != "DEAD"}


@pytest.mark.usefixtures("ray_local")
def test_a_ray_of_the_users_own_is_left_as_it_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is imported sets loggers of its own, and Ray Data starts actors that it shares among all datasets.
    import huggingface_hub  # noqa: F401

    from pipelines.run.cluster import engine  # noqa: F401
    from pipelines.sinks.qdrant.edge import client  # noqa: F401

    class Same:
        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            return batch

    ray.data.range(3).map_batches(Same, concurrency=1).materialize()
    context = DataContext.get_current()
    monkeypatch.setattr(context, "enable_progress_bars", True)
    monkeypatch.setattr(context, "target_max_block_size", 1 << 20)
    before, actors, cpus = process_state(), living_actors(), ray.cluster_resources()["CPU"]
    report = EmbeddingPipeline.from_config(bm25_job(tmp_path)).run(console=Console(quiet=True))
    assert (report.engine, report.rows["written"], report.rows["dead"]) == ("ray", 30, 0)
    assert not changes(before, process_state())
    failing = bm25_job(tmp_path, None, "one more", errors={"max_rate": 0.0})
    with pytest.raises(TooManyErrorsError, match="max_rate"):
        EmbeddingPipeline.from_config(failing).run(console=Console(quiet=True))
    assert not changes(before, process_state())
    # Actors end a moment later.
    wait_until(lambda: living_actors() <= actors and ray.available_resources()["CPU"] == cpus)


@pytest.mark.usefixtures("ray_local")
def test_a_collection_in_memory_is_filled_by_this_process_also_where_a_ray_runs(tmp_path: Path) -> None:
    sink = {"type": "qdrant", "path": ":memory:", "collection": "beside_a_ray"}
    job = bm25_job(tmp_path, sink=sink, compute={})
    report = EmbeddingPipeline.from_config(job).run(console=Console(quiet=True))
    assert (report.engine, report.rows["written"]) == ("local", 30)
    with Searcher.from_config(job) as searcher:
        assert searcher.search("7", limit=1)[0].payload["document_id"] == "7"


AT_ONCE = """
import asyncio, json, logging, sys
from concurrent.futures import ThreadPoolExecutor
import huggingface_hub
import pipelines.run.cluster.engine, pipelines.sinks.qdrant.edge.client
from rich.console import Console
from pipelines import EmbeddingPipeline
from tests.pipelines.run.cluster.process_state import changes, process_state

messages = []
class Keeping(logging.Handler):
    def emit(self, record):
        messages.append(record.getMessage())
logger = logging.getLogger("fleetembed")
logger.addHandler(Keeping())
logger.setLevel("INFO")

def run(job):
    return EmbeddingPipeline.from_config(job).run(console=Console(quiet=True)).rows["written"]

async def run_all(jobs):
    return await asyncio.gather(*(asyncio.to_thread(run, job) for job in jobs))

before = process_state()
written = asyncio.run(run_all(json.loads(sys.argv[1])))
waited = sum("waiting for another run of this process" in message for message in messages)
print(json.dumps([written, waited, str(changes(before, process_state()))]))
"""


@pytest.mark.slow
def test_two_runs_in_threads_start_a_ray_one_after_the_other_and_leave_nothing_of_it(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    jobs = [bm25_job(tmp_path / name, corpus=name) for name in ("one", "two")]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    called = [sys.executable, "-c", AT_ONCE, json.dumps(jobs)]
    done = subprocess.run(called, env=kept, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[30, 30], 1, "{}"]
    assert done.stderr == ""
