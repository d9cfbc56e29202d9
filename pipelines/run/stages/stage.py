"""What a stage of a job is: a step that tables of rows go through, whatever drives it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise
from typing import Protocol, TypeAlias

import pyarrow as pa

# Takes the tables that the stage before gives, one by one, and gives its own.
Work: TypeAlias = Callable[[Iterator[pa.Table]], Iterator[pa.Table]]


@dataclass(frozen=True)
class Resources:
    """What a stage wants of the machines.

    ``workers`` processes at once, at most (None: as many as there is room for), for each of which ``cpus`` CPUs and
    ``gpus`` GPUs are set aside; ``gpus`` None takes a GPU that the process sees. ``least`` workers are there from the
    start (None: all). ``threads`` is how many a model may use (None: all cores, or a part of its node's cores where
    ``beside`` names the stages whose workers share them, its own among them). ``actors`` tells that a worker is made
    once and kept, because it is costly to make or holds connections; else a worker lasts for one task of the engine.
    One that ``opens_at_once`` is neither: it is kept so that its place is taken from the start, beside others.
    A node must have labels that meet ``label_selector``, or else one of ``fallback_selectors``, an accelerator of
    ``accelerator_type``, and so much of the cluster's other ``resources``.
    """

    workers: int | None = None
    least: int | None = None
    cpus: float = 1.0
    gpus: float | None = 0.0
    threads: int | None = None
    actors: bool = False
    opens_at_once: bool = False
    beside: tuple[str, ...] = ()
    label_selector: Mapping[str, str] = field(default_factory=dict)
    fallback_selectors: tuple[Mapping[str, str], ...] = ()
    accelerator_type: str | None = None
    resources: Mapping[str, float] = field(default_factory=dict)


class Stage(Protocol):
    """One step of a job. It is made on the driver, pickled, and opened in each process that works for it."""

    @property
    def name(self) -> str:
        """What it is called in messages and in Ray's dashboard."""

    @property
    def takes(self) -> frozenset[str]:
        """Columns that a table must have."""

    @property
    def gives(self) -> frozenset[str]:
        """Columns that a table has afterwards, beside those it came with where the stage ``keeps`` them."""

    @property
    def keeps(self) -> bool:
        """Whether a table goes on with the columns that it came with."""

    @property
    def resources(self) -> Resources:
        """What it wants of the machines."""

    def open(self) -> AbstractContextManager[Work]:
        """Make ready what the work needs (models, connections), and close it at the end."""


def check_columns(stages: Sequence[Stage], given: frozenset[str]) -> None:
    """Raise ValueError where a stage takes a column that neither ``given`` nor a stage before it has."""
    columns = given
    for stage in stages:
        if missing := sorted(stage.takes - columns):
            raise ValueError(
                f"the stage {stage.name!r} takes the columns {', '.join(missing)}, and the stages before it give only "
                f"{', '.join(sorted(columns))}"
            )
        columns = stage.gives | columns if stage.keeps else stage.gives


def fuse(stages: Sequence[Stage]) -> list[list[Stage]]:
    """Put neighbours together that one worker can do one after the other: those on tasks that want the same."""
    groups = [[stage] for stage in stages[:1]]
    for before, stage in pairwise(stages):
        if stage.resources == before.resources and not stage.resources.actors:
            groups[-1].append(stage)
        else:
            groups.append([stage])
    return groups


@contextmanager
def open_stages(stages: Sequence[Stage]) -> Iterator[Work]:
    """Open stages and make one work of theirs, each taking what the one before gives."""
    with ExitStack() as opened:
        works = [opened.enter_context(stage.open()) for stage in stages]
        yield lambda tables: reduce(lambda given, work: work(given), works, tables)
