"""What a process, and the Ray Data in it, are set to: to compare before and after a run."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import warnings
from typing import Any

from ray._private import worker
from ray.data import DataContext


def loggers() -> dict[str, Any]:
    """Level, handlers and more of each logger that somebody has set; a library makes more of them as it is imported."""
    root = logging.getLogger()
    named = {name: one for name, one in root.manager.loggerDict.items() if isinstance(one, logging.Logger)}
    facts = {
        name: (one.level, list(one.handlers), one.propagate, one.disabled, list(one.filters))
        for name, one in {**named, "": root}.items()
    }
    return {name: told for name, told in facts.items() if told != (0, [], True, False, [])}


def process_state() -> dict[str, Any]:
    """All of it."""
    context = DataContext.get_current()
    return {
        "environment": dict(os.environ),
        "loggers": loggers(),
        "warnings": list(warnings.filters),
        "signals": {number.name: signal.getsignal(number) for number in signal.Signals},
        "faulthandler": faulthandler.is_enabled(),
        "streams": (sys.stdout, sys.stderr, sys.excepthook, worker.print_to_stdstream),
        "context": (id(context), {name: repr(value) for name, value in vars(context).items()}),
    }


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What differs, by name."""
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}
