"""Starts the engine on Ray; its imports, which take a second, come when processes of Ray's are under way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from pipelines.config.job import JobConfig
from pipelines.run.cluster.connection import connect
from pipelines.run.cluster.lone_ray import is_lone, without_brokers
from pipelines.run.cluster.metrics import JobMetrics
from pipelines.run.cluster.remote_tally import RemoteTally
from pipelines.run.placement.plan import refuse_expect_without_cluster

if TYPE_CHECKING:
    from pipelines.run.cluster.engine import RayEngine


@contextmanager
def start_ray_engine(config: JobConfig) -> Iterator[RayEngine]:
    """Join the Ray that is there, or start one for the job, and have it drive the job."""
    refuse_expect_without_cluster(config.compute)
    with connect(config.compute) as machines:
        # Its process needs no Ray Data, and readers wait for it: it starts while this one imports Ray Data.
        counter = RemoteTally(JobMetrics(config.corpus))
        from pipelines.run.cluster.engine import ray_engine

        with without_brokers() if is_lone() else nullcontext(), ray_engine(config, machines, counter) as engine:
            yield engine
