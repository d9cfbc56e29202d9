"""Where a command prints to: a terminal as wide as it is, or a log."""

from __future__ import annotations

import os

from rich.console import Console

WIDTH_OF_A_LOG = 1000


def make_console(*, stderr: bool = False) -> Console:
    """Make a console for standard output or error; in a log, which has no width of its own, no line is broken."""
    console = Console(stderr=stderr)
    # By the stream itself: FORCE_COLOR makes rich take a log for a terminal.
    if not console.file.isatty() and "COLUMNS" not in os.environ:
        console.width = WIDTH_OF_A_LOG
    return console
