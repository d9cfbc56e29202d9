"""Drives a job with Ray: read tasks, actor pools, and a counter that all of them report to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Literal, TypeVar

import pyarrow as pa
import ray
from ray.data import DataContext, Dataset

from pipelines.config.compute import ComputeConfig
from pipelines.config.job import JobConfig
from pipelines.embed.job_models import job_models
from pipelines.embed.row_embedder import RowEmbedder
from pipelines.run.cluster.as_found import job_options
from pipelines.run.cluster.connection import describe_nodes, stall_seconds
from pipelines.run.cluster.dataset import build_dataset, build_given
from pipelines.run.cluster.errors import plain_errors, plain_stalls
from pipelines.run.cluster.id_comparison import compare_ids
from pipelines.run.cluster.prepare import prepare_nodes
from pipelines.run.cluster.remote_rows import put_rows
from pipelines.run.cluster.remote_tally import RemoteTally
from pipelines.run.cluster.request_watcher import watched_request
from pipelines.run.cluster.waiting import RunningDataset, say_free
from pipelines.run.cluster.watch import SECONDS_UNTIL_TOLD, ClusterWatch, StallWatch, free_of_nodes
from pipelines.run.placement.autoscaling import expected
from pipelines.run.placement.nodes import Machines, Node
from pipelines.run.placement.pools import Pool, place_pools
from pipelines.run.placement.shared_storage import refuse_local_places
from pipelines.run.placement.sizes import demand
from pipelines.run.report.losses import Losses
from pipelines.run.stages.stage import Stage
from pipelines.sources.duplicates import ComparedIds
from pipelines.sources.id_comparison import IdKeys
from pipelines.sources.memory.data import Data

log = logging.getLogger("fleetembed")

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def ray_engine(config: JobConfig, found: Machines, counter: RemoteTally) -> Iterator[RayEngine]:
    """Drive a job by the Ray that this process is connected to; errors of its workers come as the job's own.

    ``found`` are the nodes that it had a moment ago. The counter is closed at the end.
    """
    compute = config.compute
    with plain_errors(), _expected(config, found) as machines:
        engine = RayEngine(compute, machines, counter)
        seconds = stall_seconds(compute, max((sink.retry_seconds for sink in config.sink), default=0.0))
        with plain_errors(lambda: engine.losses.nodes_lost), job_options(seconds):
            try:
                yield engine
            finally:
                engine.counter.close()


@contextmanager
def _expected(config: JobConfig, found: Machines) -> Iterator[Machines]:
    """Have the nodes that the job expects, unless it is sure to be refused: nodes are paid for."""
    if config.compute.expect is None:
        yield found
        return
    refuse_local_places(config, found)
    with watched_request(), expected(config.compute, found, describe_nodes) as machines:
        yield machines


class RayEngine:
    """Runs the stages as one Ray dataset."""

    name: Literal["ray"] = "ray"
    most_rows = None

    def __init__(self, compute: ComputeConfig, machines: Machines, counter: RemoteTally) -> None:
        self._compute, self._machines = compute, machines
        self.counter = counter
        self._watch = ClusterWatch()

    @property
    def losses(self) -> Losses:
        """See Engine."""
        return self._watch.losses(lost_figures=self.counter.lost)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """See Engine."""
        return self._machines.nodes

    @property
    def notices(self) -> tuple[str, ...]:
        """See Engine."""
        return self._machines.notices

    def place(self, config: JobConfig) -> list[Pool]:
        """See Engine; raises PreflightError also for local paths that not all machines see."""
        refuse_local_places(config, self._machines)
        return place_pools(config, self._machines)

    def prepare(self, config: JobConfig, embedders: Sequence[RowEmbedder], pools: Sequence[Pool]) -> None:
        """See Engine."""
        actors = {one.name: demand(pool.name, pool.resources) for pool in pools for one in pool.embeddings}
        prepare_nodes(lambda: job_models(config, embedders), actors, self._compute.prepare_seconds)

    def hold(self, data: Data) -> Data:
        """See Engine; Ray has them, in its object store."""
        return put_rows(data)

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """See Engine."""
        call: Any = ray.remote(**self._task_options)(_call)
        pending = [call.remote(work, item) for item in items]
        return (self._wait_for(result, len(pending) - number) for number, result in enumerate(pending))

    def compare_ids(
        self, look: Callable[[Item], tuple[Result, IdKeys]], items: Sequence[Item], *, keep_keys: bool
    ) -> tuple[list[Result], list[ComparedIds]]:
        """See Engine."""
        return compare_ids(look, items, keep_keys=keep_keys, options=self._task_options, wait=self._wait_for)

    @contextmanager
    def drive(self, stages: Sequence[Stage], tasks: Sequence[bytes]) -> Iterator[Iterator[pa.Table]]:
        """See Engine; it takes any number of rows."""
        with self._executed(build_dataset(stages, tasks, self._compute, self._machines.read_cpus)) as tables:
            yield tables

    @contextmanager
    def give(self, stages: Sequence[Stage], tasks: Sequence[bytes]) -> Iterator[Iterator[pa.Table]]:
        """See Engine; it takes any number of rows."""
        dataset = build_given(stages, tasks, self._compute, self._machines.read_cpus)
        dataset.context.execution_options.preserve_order = True
        with self._executed(dataset) as tables:
            yield tables

    @contextmanager
    def _executed(self, dataset: Dataset) -> Iterator[Iterator[pa.Table]]:
        dataset.context.custom_execution_callback_classes.append(RunningDataset)
        batches: Any = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
        stalls = StallWatch()
        # Ray goes on working until its iterator is closed, also after an error here.
        with closing(batches), stalls.watching():
            yield plain_stalls(batches, lambda: stalls.waits_for)

    @property
    def _task_options(self) -> dict[str, Any]:
        return {"num_cpus": self._machines.read_cpus, "max_retries": self._compute.max_retries}

    def _wait_for(self, result: Any, left: int) -> Any:
        """Get a task's result; a line now and then says what it waits for."""
        patience, longest = SECONDS_UNTIL_TOLD, DataContext.get_current().execution_no_progress_timeout_s
        while not ray.wait([result], timeout=patience)[0]:
            patience = min(2 * patience, longest)
            log.warning(
                "the source is looked at first: %s tasks are left, each of which wants %g CPU on one node; %s",
                f"{left:,}",
                self._machines.read_cpus,
                say_free(free_of_nodes()),
            )
        return ray.get(result)


def _call(work: Callable[[Item], Result], item: Item) -> Result:
    return work(item)
