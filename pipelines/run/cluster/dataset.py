"""A job's stages as one Ray dataset, in which each block is a packed table: see `run/packing.py`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, Dataset, TaskPoolStrategy

from pipelines.config.compute import ComputeConfig
from pipelines.run.cluster.lone_ray import is_lone
from pipelines.run.packing import pack, unpack
from pipelines.run.placement.nodes import READ_CPUS
from pipelines.run.stages.read import TASK_COLUMN
from pipelines.run.stages.stage import Resources, Stage, Work, fuse, open_stages


def build_dataset(
    stages: Sequence[Stage], tasks: Sequence[bytes], compute: ComputeConfig, task_cpus: float = READ_CPUS
) -> Dataset:
    """Chain the stages lazily, from tasks to the tables of the last one; neighbours on tasks share a worker.

    A worker on tasks gets ``task_cpus`` CPUs at most, so that the nodes that there are have room for one.
    """
    return chain_groups(fuse(stages), tasks, compute, task_cpus)


def build_given(
    stages: Sequence[Stage], tasks: Sequence[bytes], compute: ComputeConfig, task_cpus: float = READ_CPUS
) -> Dataset:
    """Chain stages whose last one gives rows for others to go on with; its worker is that of the stage before it."""
    groups = fuse(stages[:-1])
    return chain_groups([*groups[:-1], [*groups[-1], stages[-1]]], tasks, compute, task_cpus)


def chain_groups(
    groups: Sequence[Sequence[Stage]], tasks: Sequence[bytes], compute: ComputeConfig, task_cpus: float
) -> Dataset:
    """Chain groups of stages, each of which shares a worker."""
    # Of items Ray Data makes the blocks here. It would have a task look at those that it is given, and wait for it.
    items = [row for task in tasks for row in pack(pa.table({TASK_COLUMN: [task]})).to_pylist()]
    dataset: Dataset = ray.data.from_items(items, override_num_blocks=len(items) or None)
    for number, group in enumerate(groups):
        last = number == len(groups) - 1
        if _on_actors(group):
            dataset = on_actors(dataset, group, compute, packed=not last)
        else:
            dataset = on_tasks(dataset, group, compute, task_cpus, packed=not last)
    return dataset


def _on_actors(stages: Sequence[Stage]) -> bool:
    """Whether stages get workers of their own that are kept.

    On a Ray of this job's alone, those that open at once go without: their tasks run in the processes of tasks that
    are over, and no further process starts while the first block waits for a model.
    """
    return stages[0].resources.actors and not (stages[0].resources.opens_at_once and is_lone())


def on_tasks(
    dataset: Dataset, stages: Sequence[Stage], compute: ComputeConfig, task_cpus: float, *, packed: bool
) -> Dataset:
    """Run stages in Ray tasks, each of which opens them and closes them; a block for each table that they give.

    Ray runs a task whose worker died again for ever: ReadStage counts. Another number there would keep the two steps
    below from sharing a worker.
    """
    cpus = min(stages[0].resources.cpus, task_cpus)
    retries: dict[str, Any] = {} if packed else {"max_retries": compute.max_retries}
    with _arguments_of_ray():
        worked = dataset.map_batches(
            _named_function(stages, packed=packed),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=cpus,
            compute=TaskPoolStrategy(size=stages[0].resources.workers),
            **retries,
        )
    return _a_block_for_each_table(worked, cpus) if packed else worked


def _a_block_for_each_table(dataset: Dataset, cpus: float) -> Dataset:
    """Give each table on as soon as it is there; Ray would gather those of a task, up to 128 MB.

    The step has to want the CPUs of the one before it, and has no argument for them. Without, Ray counts a whole CPU:
    where tasks get less than that, the two steps would not share a worker, and the second one would wait for a CPU
    that no node has free.
    """
    cut = dataset.repartition(target_num_rows_per_block=1)
    step: Any = cut._logical_plan.dag
    step.ray_remote_args["num_cpus"] = cpus
    return cut


def on_actors(dataset: Dataset, stages: Sequence[Stage], compute: ComputeConfig, *, packed: bool) -> Dataset:
    """Run stages on a pool of actors, a block at a time.

    Restarts are finite: Ray's default is for ever, and a row that kills its process would loop. Retries of a block are
    not, since each of them uses up a restart where the actor dies of it. A node that is gone takes up all of any finite
    number of them, while the cluster does not know yet that it is gone.
    """
    wanted = stages[0].resources
    placed = _placed(wanted)
    with _arguments_of_ray():
        return dataset.map_batches(
            _named_class(stages),
            fn_constructor_args=(tuple(stages), packed),
            batch_size=1,
            batch_format="pyarrow",
            compute=_strategy(wanted),
            num_cpus=wanted.cpus,
            max_restarts=compute.max_retries,
            max_task_retries=-1,
            **placed,
        )


@contextmanager
def _arguments_of_ray() -> Iterator[None]:
    """Give a step restarts and retries, which only ray_remote_args carries so far; Ray warns that it leaves in 2.64."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*ray_remote_args.*")
        yield


class StageActor:
    """Stages that one process has opened, for as long as it lives."""

    def __init__(self, stages: Sequence[Stage], packed: bool) -> None:
        self._opened = ExitStack()
        self._work = self._opened.enter_context(open_stages(stages))
        self._packed = packed

    def __call__(self, packed: pa.Table) -> Iterator[pa.Table]:
        """Work on one packed table; gives packed tables, or where nothing follows plain ones."""
        yield from _packed_tables(self._work, packed, self._packed)

    def __del__(self) -> None:
        # Ray Data deletes it when the last block is through; so connections are closed.
        if opened := getattr(self, "_opened", None):
            opened.close()


def _placed(wanted: Resources) -> dict[str, Any]:
    """Where Ray may put an actor; what is not asked for is not named, as Ray wants it."""
    named: dict[str, Any] = {
        "num_gpus": wanted.gpus,
        "label_selector": dict(wanted.label_selector),
        "fallback_strategy": [{"label_selector": dict(selector)} for selector in wanted.fallback_selectors],
        "accelerator_type": wanted.accelerator_type,
        "resources": dict(wanted.resources),
    }
    return {name: value for name, value in named.items() if value}


def _strategy(wanted: Resources) -> ActorPoolStrategy:
    if wanted.least is None or wanted.least == wanted.workers:
        return ActorPoolStrategy(size=wanted.workers)
    return ActorPoolStrategy(min_size=wanted.least, max_size=wanted.workers)


def _named_function(stages: Sequence[Stage], *, packed: bool) -> Callable[[pa.Table], Iterator[pa.Table]]:
    """A function with the stages' names, which is what Ray shows of it."""

    def run(table: pa.Table) -> Iterator[pa.Table]:
        with open_stages(stages) as work:
            yield from _packed_tables(work, table, packed)

    run.__name__ = run.__qualname__ = _title(stages)
    return run


def _named_class(stages: Sequence[Stage]) -> type[StageActor]:
    """A StageActor with the stages' names, which is what Ray shows of it."""
    return type(_title(stages), (StageActor,), {})


def _packed_tables(work: Work, packed: pa.Table, pack_again: bool) -> Iterator[pa.Table]:
    tables = work(iter([unpack(packed)]))
    return map(pack, tables) if pack_again else tables


def _title(stages: Sequence[Stage]) -> str:
    # Ray takes names of ASCII alone.
    return " + ".join(stage.name for stage in stages).encode("ascii", "backslashreplace").decode()
