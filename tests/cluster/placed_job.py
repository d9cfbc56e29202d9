"""A job on a cluster, in a process of its own, and where Ray put its actors.

Run with a cluster's address and steps as JSON: what to do (``run``, ``plan``, or ``where``: put actors where the job's
would be, and let each tell of itself) with which job. The last line printed is what came of each of them, as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import ray

from embedders.errors import FleetembedError
from pipelines.config.file import load_config
from pipelines.config.job import JobConfig
from pipelines.pipeline import EmbeddingPipeline
from pipelines.run.cluster import connection
from pipelines.run.cluster.as_found import job_options
from pipelines.run.cluster.dataset import build_dataset
from pipelines.run.placement.pools import Pool, place_pools
from pipelines.run.stages.stage import Resources, Work
from tests.conftest import ROOT
from tests.waiting import SECONDS, wait_until

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def do(address: str, action: str, config: dict[str, Any]) -> dict[str, Any]:
    """Do something with a job on a cluster, and return what came of it."""
    return do_each(address, (action, config))[0]


def do_each(address: str, *steps: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Do several things, one after the other in one process: what it imports costs more than most jobs of a test."""
    with begin(address, *steps) as process:
        output, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors
    outcomes: list[dict[str, Any]] = json.loads(output.splitlines()[-1])
    return outcomes


@contextmanager
def begin(address: str, *steps: tuple[str, dict[str, Any]]) -> Iterator[subprocess.Popen[str]]:
    """Start what does that; it is killed if it still runs in the end."""
    kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "tests.cluster.placed_job", address, json.dumps(steps)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=kept, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@dataclass(frozen=True)
class Telling:
    """A stage on the actors of a pool, each of which tells where it is and what it got.

    They meet in a folder of this machine: none goes on with its first table before each has one.
    """

    pool: Pool
    meeting: str
    takes: frozenset[str] = frozenset()
    gives: frozenset[str] = frozenset()
    keeps: bool = True

    @property
    def name(self) -> str:
        return self.pool.name

    @property
    def resources(self) -> Resources:
        return self.pool.resources

    @property
    def workers(self) -> int:
        """How many actors the pool has; one that may grow is of no use here."""
        assert self.resources.workers is not None
        return self.resources.workers

    @contextmanager
    def open(self) -> Iterator[Work]:
        context = ray.get_runtime_context()
        told = {
            "pool": self.name,
            "node": context.get_node_id(),
            "label": next(one["Labels"] for one in ray.nodes() if one["NodeID"] == context.get_node_id()).get("pool"),
            "actor": context.get_actor_id(),
            "gpus": context.get_accelerator_ids()["GPU"],
            "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "threads": self.pool.runtime(self.pool.embeddings[0])["threads"],
        }

        def tell(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
            for table in tables:
                met = Path(self.meeting) / self.name
                met.mkdir(exist_ok=True)
                (met / context.get_actor_id()).touch()
                wait_until(lambda met=met: len(list(met.iterdir())) >= self.workers)
                yield pa.table({"told": [*table.column(0).to_pylist(), json.dumps(told).encode()]})

        yield tell


def _where(config: JobConfig) -> list[dict[str, Any]]:
    with connection.connect(config.compute) as machines:
        pools = place_pools(config, machines)
        with job_options(60), TemporaryDirectory() as meeting:
            stages = [Telling(pool, meeting) for pool in pools]
            tasks = [b"{}"] * 8 * max(stage.workers for stage in stages)
            placed = build_dataset(stages, tasks, config.compute, machines.read_cpus)
            rows = placed.take_all()
        return [json.loads(told) for told in {row["told"] for row in rows} - {b"{}"}]


def _outcome(action: str, config: JobConfig) -> dict[str, Any]:
    try:
        if action == "where":
            return {"told": _where(config)}
        if action == "plan":
            return {"placement": EmbeddingPipeline(config).plan().placement}
        return {"report": asdict(EmbeddingPipeline(config).run())}
    except FleetembedError as error:
        return {"error": f"{type(error).__name__}: {error}"}


def main(address: str, steps: str) -> None:
    at = [f"compute.address={address}"]
    print(json.dumps([_outcome(action, load_config(job, at)) for action, job in json.loads(steps)], default=str))


if __name__ == "__main__":
    main(*sys.argv[1:])
