"""A run's progress in a notebook: a few lines of text, written anew in their place, for which no widget is needed.

The notebook keeps them when it is saved, which it does not with a widget, and its cell never grows.
"""

from __future__ import annotations

import sys
import time
from threading import Lock
from types import TracebackType
from typing import Any

from pipelines.run.periodic import repeating

SECONDS_BETWEEN_UPDATES = 1.0
# A phase that took less is not worth a line when it is over.
SECONDS_WORTH_A_LINE = 0.1
BAR_WIDTH = 30


def show_in_cell(value: Any, **options: Any) -> Any:
    """Show a value in the output of the cell that runs, as IPython's ``display`` does; returns what that returns."""
    from IPython import display

    show: Any = display.display
    return show(value, **options)


def running_cell() -> int | None:
    """Number the cell, or the line of an IPython, that runs; None where there is none."""
    shell = IPython.get_ipython() if (IPython := sys.modules.get("IPython")) is not None else None
    return None if shell is None else int(shell.execution_count)


class NotebookProgress:
    """Shows each phase with its seconds, and below them how far the rows are; enter it before it is told of either."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._phase, self._phase_began = "", 0.0
        self._rows = ""
        self._handle: Any = None
        self._shown = ""
        # The watcher of a run calls from a thread of its own.
        self._writing = Lock()

    def __enter__(self) -> NotebookProgress:
        self._ticking = repeating(self._show, SECONDS_BETWEEN_UPDATES, "phases")
        self._ticking.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ticking.__exit__(None, None, None)
        if kind is None:
            self.end_phase()
        self._show()

    def __call__(self, doing: str) -> None:
        """Begin a phase, which ends the one before it."""
        self.end_phase()
        self._phase, self._phase_began = doing, time.monotonic()
        self._show()

    def end_phase(self) -> None:
        """End the phase that goes on."""
        if self._phase and time.monotonic() - self._phase_began >= SECONDS_WORTH_A_LINE:
            self._lines.append(self._phase_line())
        self._phase = ""

    def show_rows(self, rows: str) -> None:
        """Show a line below the phases, in the place of the one before."""
        self._rows = rows
        self._show()

    def _phase_line(self) -> str:
        return f"{self._phase} … {time.monotonic() - self._phase_began:.1f} s"

    def _show(self) -> None:
        with self._writing:
            lines = [
                *self._lines,
                *([self._phase_line()] if self._phase else []),
                *([self._rows] if self._rows else []),
            ]
            text = "\n".join(lines)
            if text == self._shown or not text:
                return
            self._shown = text
            if self._handle is None:
                self._handle = show_in_cell({"text/plain": text}, raw=True, display_id=True)
            else:
                self._handle.update({"text/plain": text}, raw=True)


class NotebookRows:
    """The line of a run's rows; see ProgressView."""

    def __init__(self, total: int | None, shown: NotebookProgress) -> None:
        self._total, self._progress = total, shown
        self._began = time.monotonic()

    def __enter__(self) -> NotebookRows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def update(self, documents: float, tokens: int) -> None:
        """See ProgressView."""
        seconds = time.monotonic() - self._began
        speed = f"{tokens / max(seconds, 1e-9):,.0f} tokens/s"
        if not self._total:
            total = "?" if self._total is None else "0"
            self._progress.show_rows(f"{documents:,.0f}/{total} documents, {speed}, {seconds:.0f} s")
            return
        share = min(1.0, documents / self._total)
        full = round(share * BAR_WIDTH)
        bar = "█" * full + "░" * (BAR_WIDTH - full)
        left = f", {seconds / share - seconds:,.0f} s left" if 0 < share < 1 else f", {seconds:,.1f} s"
        self._progress.show_rows(f"{bar} {documents:,.0f}/{self._total:,} documents ({share:.0%}), {speed}{left}")

    def begin(self, seconds: float) -> None:
        """See ProgressView."""
        self._progress.end_phase()
