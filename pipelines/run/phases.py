"""What a run begins to do before rows flow, said at once: in the log, and where somebody looks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from rich.console import Console

log = logging.getLogger("fleetembed")

# Of the thread that a run is in.
_listener: ContextVar[Callable[[str], None] | None] = ContextVar("phases", default=None)


def tell(doing: str) -> None:
    """Say what the run does from now on, in words that seconds may follow: ``starting Ray on this machine``."""
    log.info(doing)
    if (listener := _listener.get()) is not None:
        listener(doing)


@contextmanager
def told_to(listener: Callable[[str], None]) -> Iterator[None]:
    """Have what is told in the block told to a listener too."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


def listener() -> Callable[[str], None] | None:
    """Return who is told here."""
    return _listener.get()


class PhaseLines:
    """A line a phase on a terminal, behind the seconds since the first one."""

    def __init__(self, console: Console) -> None:
        self._console, self._began = console, time.monotonic()

    def __call__(self, doing: str) -> None:
        """Print one."""
        line = f"{time.monotonic() - self._began:5.1f} s  {doing}"
        # A terminal may go away, and the work goes on.
        with suppress(OSError):
            self._console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)
