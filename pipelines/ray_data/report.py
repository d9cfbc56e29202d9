"""What a datasink tells of a write when it is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.errors import TooManyErrorsError
from pipelines.rows import is_dead
from pipelines.sinks.dead_letters import write_dead

SAMPLES = 3


@dataclass(frozen=True)
class WriteReport:
    """Figures of one write.

    ``rows`` came from the dataset; ``written`` of them are acknowledged, ``dead`` are not there, for the ``reasons``
    (type of error -> rows). ``retries`` counts requests that were sent again; ``seconds`` is the time from the start of
    the first task to the end. ``place`` is where the rows are, ``total`` how many points or rows are there now (None
    where that is not known), ``dead_letters`` the folder of the dead ones, ``samples`` a few of their errors. ``error``
    is what ended a write that failed.
    """

    place: str
    rows: int = 0
    written: int = 0
    dead: int = 0
    retries: int = 0
    seconds: float = 0.0
    total: int | None = None
    files: int | None = None
    dead_letters: str | None = None
    reasons: Mapping[str, int] = field(default_factory=dict)
    samples: tuple[str, ...] = ()
    error: str | None = None

    def __str__(self) -> str:
        if self.error is not None:
            return f"{self.place}: the write failed after {self.seconds:.1f} s: {self.error}"
        parts = [f"{self.place}: {self.written:,} of {self.rows:,} rows written in {self.seconds:.1f} s"]
        if self.retries:
            parts.append(f"{self.retries:,} requests sent again")
        if self.dead:
            why = ", ".join(f"{count:,} {kind}" for kind, count in self.reasons.items())
            parts.append(f"{self.dead:,} dead ({why}) {'in ' + self.dead_letters if self.dead_letters else 'are lost'}")
        if self.total is not None:
            parts.append(f"{self.total:,} there now")
        return "; ".join(parts)


@dataclass
class TaskFigures:
    """Figures of one write task; ``found`` is what the task alone could tell the driver."""

    rows: int = 0
    written: int = 0
    dead: int = 0
    retries: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    samples: list[str] = field(default_factory=list)
    found: Any = None

    def keep_dead(self, rows: pa.Table, folder: str | None, run: str, task: int) -> None:
        """Count the rows of a block that have an error, and write them to the dead letters, if a folder is named.

        Raises SinkError where that cannot be written to. The block's rows are counted before.
        """
        dead = np.flatnonzero(is_dead(rows))
        if not len(dead):
            return
        first = self.rows - rows.num_rows
        letters = rows.take(dead)
        origins = [f"dataset, task {task}, row {first + int(row)}" for row in dead]
        letters = letters.append_column("origin", pa.array(origins, pa.string()))
        if folder is not None:
            write_dead(folder, run, letters)
        self.dead += len(dead)
        errors = letters["error"].to_pylist()
        self.reasons.update(error["type"] for error in errors)
        for name, row, error in zip(letters["document_id"].to_pylist(), dead, errors, strict=True):
            if len(self.samples) < SAMPLES:
                named = f"row {name!r}" if name is not None else f"row {first + int(row)} of task {task}"
                self.samples.append(f"{named}: {error['type']}: {error['message']}")


def add_up(tasks: Iterable[TaskFigures], place: str, dead_letters: str | None, **figures: Any) -> WriteReport:
    """Add up the figures of all tasks."""
    done = [task for task in tasks if task is not None]
    reasons: Counter[str] = Counter()
    for task in done:
        reasons.update(task.reasons)
    return WriteReport(
        place=place,
        rows=sum(task.rows for task in done),
        written=sum(task.written for task in done),
        dead=sum(task.dead for task in done),
        retries=sum(task.retries for task in done),
        dead_letters=dead_letters,
        reasons=dict(reasons.most_common()),
        samples=tuple(sample for task in done for sample in task.samples)[:SAMPLES],
        **figures,
    )


def told_of(error: BaseException) -> str:
    """Take the message of what failed out of what Ray raises."""
    return str(getattr(error, "cause", None) or error) or type(error).__name__


def refuse_too_many(report: WriteReport, max_error_rate: float, stays: str) -> None:
    """Raise TooManyErrorsError where more rows are dead than may be; the message says what ``stays``."""
    if report.dead <= max_error_rate * report.rows:
        return
    where = f"went to {report.dead_letters}" if report.dead_letters else "could not be written"
    advice = "" if report.dead_letters else " Name a folder (dead_letters=...) to keep such rows."
    first = f" The first: {report.samples[0].rstrip('.')}." if report.samples else ""
    raise TooManyErrorsError(
        f"{report.dead:,} of {report.rows:,} rows {where}, more than max_error_rate {max_error_rate:g} "
        f"allows.{first} {stays}.{advice}"
    )
