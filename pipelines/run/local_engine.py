"""Drives a job in this process alone: without Ray's start, and without its processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, TypeVar

import pyarrow as pa

from pipelines.config.job import JobConfig
from pipelines.embed.row_embedder import RowEmbedder
from pipelines.run.engine import MoreThanFewError
from pipelines.run.placement.nodes import Node
from pipelines.run.placement.pools import Pool, place_in_one_process
from pipelines.run.report.losses import NOTHING
from pipelines.run.stages.read import TASK_COLUMN
from pipelines.run.stages.stage import Stage, open_stages
from pipelines.run.tally import Tally
from pipelines.sinks.ray_context import without_ray
from pipelines.sources.duplicates import ComparedIds
from pipelines.sources.id_comparison import IdKeys, compare_ids_here
from pipelines.sources.memory.data import Data

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def local_engine(most: tuple[int, int] | None = None) -> Iterator[LocalEngine]:
    """Drive a job in this process, also where a Ray runs in it; see LocalEngine."""
    with without_ray():
        yield LocalEngine(most)


class LocalEngine:
    """Runs the stages one after the other, a block at a time.

    ``most`` is how many rows and bytes it takes; None for any number. Where it is given, they are all read before the
    first is embedded.
    """

    name: Literal["local"] = "local"
    losses = NOTHING
    notices: tuple[str, ...] = ()
    nodes: tuple[Node, ...] = ()

    def __init__(self, most: tuple[int, int] | None = None) -> None:
        self.counter = Tally()
        self._most = most

    @property
    def most_rows(self) -> int | None:
        """See Engine."""
        return self._most and self._most[0]

    def place(self, config: JobConfig) -> list[Pool]:
        """See Engine."""
        return place_in_one_process(config)

    def prepare(self, config: JobConfig, embedders: Sequence[RowEmbedder], pools: Sequence[Pool]) -> None:
        """See Engine; the embedders have been made in this process."""

    def hold(self, data: Data) -> Data:
        """See Engine; this process has them."""
        return data

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """See Engine."""
        return map(work, items)

    def compare_ids(
        self, look: Callable[[Item], tuple[Result, IdKeys]], items: Sequence[Item], *, keep_keys: bool
    ) -> tuple[list[Result], list[ComparedIds]]:
        """See Engine."""
        return compare_ids_here(look, items, keep_keys=keep_keys)

    @contextmanager
    def drive(self, stages: Sequence[Stage], tasks: Sequence[bytes]) -> Iterator[Iterator[pa.Table]]:
        """See Engine."""
        tasks_of_one = (pa.table({TASK_COLUMN: [task]}) for task in tasks)
        first = next((number for number, stage in enumerate(stages) if stage.resources.actors), len(stages))
        with open_stages(stages[:first]) as read, open_stages(stages[first:]) as work:
            blocks = read(tasks_of_one)
            yield work(blocks if self._most is None else iter(_few(blocks, *self._most)))

    def give(self, stages: Sequence[Stage], tasks: Sequence[bytes]) -> AbstractContextManager[Iterator[pa.Table]]:
        """See Engine; one block after the other is in order."""
        return self.drive(stages, tasks)


def _few(tables: Iterable[pa.Table], most_rows: int, most_bytes: int) -> list[pa.Table]:
    """Take all tables; raises MoreThanFewError as soon as there are more rows or bytes in them."""
    taken: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        rows += table.num_rows
        size += table.nbytes
        if rows > most_rows or size > most_bytes:
            raise MoreThanFewError(f"more than {most_rows:,} rows or {most_bytes:,} bytes are left to embed")
        taken.append(table)
    return taken
