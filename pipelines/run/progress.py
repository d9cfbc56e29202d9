"""Tells how far a run is: a bar on a terminal, lines of their own in a notebook, a quiet line now and then in a log."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from pipelines.run.notebook_progress import NotebookProgress, NotebookRows
from pipelines.run.phases import PhaseLines, listener, told_to

log = logging.getLogger("fleetembed")

SECONDS_BETWEEN_LINES = 15.0


class ProgressView(Protocol):
    """Shows a run's progress while it is entered."""

    def __enter__(self) -> ProgressView: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def update(self, documents: float, tokens: int) -> None:
        """Show so many documents settled and tokens embedded."""

    def begin(self, seconds: float) -> None:
        """Show that the first rows reached the models, so long after the run began."""


class BarProgress:
    """A bar with documents, percent, tokens a second and time left."""

    def __init__(self, total: int | None, console: Console) -> None:
        self._started = time.monotonic()
        shown = "?" if total is None else f"{total:,}"
        self._bar = Progress(
            TextColumn("embedding"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn(f"{{task.completed:,.0f}}/{shown} documents"),
            TextColumn("{task.fields[speed]:,.0f} tokens/s"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task("embedding", total=total, speed=0.0)

    def __enter__(self) -> BarProgress:
        # A terminal may go away, and the work goes on.
        with suppress(OSError):
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._bar.stop()

    def update(self, documents: float, tokens: int) -> None:
        """Move the bar."""
        speed = tokens / max(1e-9, time.monotonic() - self._started)
        with suppress(OSError):
            self._bar.update(self._task, completed=documents, speed=speed)

    def begin(self, seconds: float) -> None:
        """Show nothing more: the bar moves."""


class LineProgress:
    """A log line at most every SECONDS_BETWEEN_LINES."""

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._started = self._last = time.monotonic()

    def __enter__(self) -> LineProgress:
        log.info("reading %s documents", "?" if self._total is None else f"{self._total:,}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def update(self, documents: float, tokens: int) -> None:
        """Log a line if the last one is long ago."""
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        elapsed = now - self._started
        speed = f"{tokens / elapsed:,.0f}"
        if self._total is None:
            log.info("%s/? documents, %s tokens/s", f"{documents:,.0f}", speed)
            return
        share = documents / self._total if self._total else 1.0
        left = f"{elapsed / share - elapsed:,.0f} s left" if share else "time left unknown"
        counts = f"{documents:,.0f}/{self._total:,} documents ({share:.0%})"
        log.info("%s, %s tokens/s, %s", counts, speed, left)

    def begin(self, seconds: float) -> None:
        """Log it."""
        log.info("the first rows reached the models after %.1f s", seconds)


@contextmanager
def showing_phases(console: Console) -> Iterator[None]:
    """Show what a run does before rows flow, in a notebook, and on a terminal where no log is kept."""
    if is_notebook(console):
        with NotebookProgress() as shown, told_to(shown):
            yield
    elif console.is_terminal and not log.hasHandlers():
        with told_to(PhaseLines(console)):
            yield
    else:
        yield


def is_notebook(console: Console) -> bool:
    """Whether what a console prints goes into the cell of a notebook."""
    return console.is_jupyter and not console.quiet


def choose_view(total: int | None, console: Console) -> ProgressView:
    """A bar where somebody looks, lines where a log is kept; ``total`` documents, None where nobody has counted."""
    shown = listener()
    if isinstance(shown, NotebookProgress):
        return NotebookRows(total, shown)
    return BarProgress(total, console) if console.is_terminal else LineProgress(total)
