"""Drives a job with Ray: read tasks, actor pools, and a counter that all of them report to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any, Literal, TypeVar

import pyarrow as pa
import ray

from pipelines.config.compute import ComputeConfig
from pipelines.config.job import JobConfig
from pipelines.run.cluster import configure, connect, plain_errors
from pipelines.run.dataset import build_dataset
from pipelines.run.metrics import JobMetrics
from pipelines.run.placement import READ_CPUS, Machines, Pool, place_pools
from pipelines.run.stage import Stage
from pipelines.run.tally import Figures, Tally

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def ray_engine(compute: ComputeConfig, corpus: str) -> Iterator[RayEngine]:
    """Join the Ray that is there, or start one for the job; errors of its workers come as the job's own."""
    with connect(compute) as machines, plain_errors():
        configure(compute)
        yield RayEngine(compute, machines, corpus)


class RayEngine:
    """Runs the stages as one Ray dataset."""

    name: Literal["ray"] = "ray"
    most_rows = None

    def __init__(self, compute: ComputeConfig, machines: Machines, corpus: str) -> None:
        self._compute, self._machines = compute, machines
        self.counter = RemoteTally(JobMetrics(corpus))

    def place(self, config: JobConfig) -> list[Pool]:
        """See Engine."""
        return place_pools(config, self._machines)

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """See Engine."""
        call: Any = ray.remote(num_cpus=READ_CPUS)(_call)
        pending = [call.remote(work, item) for item in items]
        return (ray.get(result) for result in pending)

    @contextmanager
    def drive(self, stages: Sequence[Stage], tasks: Sequence[bytes]) -> Iterator[Iterator[pa.Table]]:
        """See Engine; it takes any number of rows."""
        dataset = build_dataset(stages, tasks, self._compute)
        batches: Any = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
        # Ray goes on working until its iterator is closed, also after an error here.
        with closing(batches):
            yield batches


class RemoteTally:
    """Adds figures to a Tally that runs as an actor, without waiting for it."""

    def __init__(self, also: Callable[[str, Figures], None] | None = None) -> None:
        self._last: dict[str, Figures] = {}
        self._actor: Any = ray.remote(num_cpus=0)(Tally).remote(also)

    def __call__(self, stage: str, figures: Figures) -> None:
        """Send figures on their way."""
        self._actor.__call__.remote(stage, figures)

    def begin(self, work: str) -> int:
        """See Counter."""
        times: int = ray.get(self._actor.begin.remote(work))
        return times

    def read(self) -> dict[str, Figures]:
        """Fetch the sums by stage; the last ones known where the counter is gone."""
        # Where memory ran short and Ray ended the counter, figures are missing, and no documents.
        with suppress(ray.exceptions.RayError):
            self._last = ray.get(self._actor.read.remote())
        return self._last


def _call(work: Callable[[Item], Result], item: Item) -> Result:
    return work(item)
