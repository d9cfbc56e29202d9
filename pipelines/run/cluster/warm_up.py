"""Starts the engine on Ray: what takes its processes long begins first, and this one imports Ray Data meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import ray

from pipelines.config.job import JobConfig
from pipelines.run.cluster.connection import connect
from pipelines.run.cluster.lone_ray import is_lone, without_brokers
from pipelines.run.cluster.metrics import JobMetrics
from pipelines.run.cluster.remote_tally import RemoteTally

if TYPE_CHECKING:
    from pipelines.run.cluster.engine import RayEngine

# What a reader, a model and a writer have in common, and what most models want.
MODULES = ("ray.data", "pipelines.run.stages.job_stages", "onnxruntime", "tokenizers")
# A reader and a model, without which nothing begins, and a writer where there are more cores than two.
MOST_WORKERS = 3
# To go on sooner would start other processes in the place of those that are late, and so does it after that.
SECONDS_TO_IMPORT = 30.0


@contextmanager
def start_ray_engine(config: JobConfig) -> Iterator[RayEngine]:
    """Join the Ray that is there, or start one for the job, and have it drive the job."""
    with connect(config.compute) as machines:
        # A process of its own, which needs no Ray Data: the first that is free is to be the tally's.
        counter = RemoteTally(JobMetrics(config.corpus))
        warmed = _warm_up() if is_lone() else []
        # Imported late: Ray Data takes a second to import.
        from pipelines.run.cluster.engine import ray_engine

        with without_brokers() if is_lone() else nullcontext(), ray_engine(config, machines, counter) as engine:
            if warmed:
                ray.wait(warmed, num_returns=len(warmed), timeout=SECONDS_TO_IMPORT, fetch_local=False)
            yield engine


def _warm_up() -> Sequence[Any]:
    """Begin to import in as many workers as there are cores, MOST_WORKERS at most: they are the job's afterwards."""
    task: Any = ray.remote(num_cpus=0, max_retries=0)(_import)
    return [task.remote(MODULES) for _ in range(min(MOST_WORKERS, os.cpu_count() or 1))]


def _import(modules: Sequence[str]) -> None:
    # Whoever needs one that does not import says so.
    for name in modules:
        with suppress(Exception):
            import_module(name)
