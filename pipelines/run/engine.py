"""What drives the stages of a job."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol, TypeVar

import pyarrow as pa

from pipelines.config.job import JobConfig
from pipelines.embed.row_embedder import RowEmbedder
from pipelines.run.placement.nodes import Node
from pipelines.run.placement.pools import Pool
from pipelines.run.report.losses import Losses
from pipelines.run.stages.stage import Stage
from pipelines.run.tally import Counter
from pipelines.sources.duplicates import ComparedIds
from pipelines.sources.id_comparison import IdKeys
from pipelines.sources.memory.data import Data

Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine(Protocol):
    """Drives a job's stages over its source."""

    @property
    def name(self) -> Literal["ray", "local"]:
        """What ``compute.engine`` calls it."""

    @property
    def counter(self) -> Counter:
        """What its stages tell of their work to."""

    @property
    def losses(self) -> Losses:
        """What was lost so far, and the job went on without."""

    @property
    def most_rows(self) -> int | None:
        """How many rows it takes at most; None for any number."""

    @property
    def nodes(self) -> Sequence[Node]:
        """The nodes of its cluster; none where it is this process alone."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What is to be told of the machines that it has."""

    def place(self, config: JobConfig) -> list[Pool]:
        """Place the embeddings on what there is; raises PreflightError for a job that does not fit."""

    def prepare(self, config: JobConfig, embedders: Sequence[RowEmbedder], pools: Sequence[Pool]) -> None:
        """See that the job's models are wherever they are going to run, and the same as here.

        Raises PreflightError where they are not.
        """

    def hold(self, data: Data) -> Data:
        """Let the rows of a source in memory be where all of its workers can read them."""

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Call a function, which can be pickled, for each item where there is room; results in the items' order."""

    def compare_ids(
        self, look: Callable[[Item], tuple[Result, IdKeys]], items: Sequence[Item], *, keep_keys: bool
    ) -> tuple[list[Result], list[ComparedIds]]:
        """Call a function for each item as ``map`` does, and compare the ids that it tells of, where there is room.

        Gives its results in the items' order, and what came of each part of the ids, in ascending ranges of hashes.
        ``keep_keys`` as in ``compare``.
        """

    def drive(self, stages: Sequence[Stage], tasks: Sequence[bytes]) -> AbstractContextManager[Iterator[pa.Table]]:
        """Run tasks through the stages; gives the tables of the last one, and closes all stages at the end.

        Raises MoreThanFewError, before anything is embedded, where more rows are left to embed than it takes.
        """

    def give(self, stages: Sequence[Stage], tasks: Sequence[bytes]) -> AbstractContextManager[Iterator[pa.Table]]:
        """Run tasks through stages whose last one gives rows, in the order of tasks and rows; else as ``drive``."""


class MoreThanFewError(Exception):
    """More is left to embed than an engine was to take."""
