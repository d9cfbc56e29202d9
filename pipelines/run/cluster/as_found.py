"""What a run sets for itself in a process that Ray is used in, and how all of it is put back when the run is over.

A Ray, or Ray Data, that the user goes on with is then as it was before, however the run ended.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from pipelines.run.packing import BLOCK_BYTES

if TYPE_CHECKING:
    from ray.data import DataContext

# What Ray's own start sets beside its variables: what the interpreter's breakpoint() calls.
BREAKPOINT = "PYTHONBREAKPOINT"

_entering = threading.Lock()
_runs = 0
_kept = ExitStack()


@contextmanager
def job_options(stall_seconds: float) -> Iterator[None]:
    """Have Ray Data's options, warnings and log be a job's until the block ends; enter it before a dataset is made.

    They are those of the whole process: where runs of several threads overlap, the last one puts back what the first
    one found.
    """
    global _runs
    # Imported late: it takes a second, in which the workers of a Ray that was just started get ready.
    from ray.data import DataContext

    with _entering:
        if not _runs:
            _kept.enter_context(_replaced_options())
        _runs += 1
        DataContext.get_current().execution_no_progress_timeout_s = stall_seconds
    try:
        yield
    finally:
        with _entering:
            _runs -= 1
            if not _runs:
                _kept.close()


@contextmanager
def _replaced_options() -> Iterator[None]:
    from ray.data import DataContext

    # A copy: the user's own object is not touched.
    options = DataContext.get_current().copy()
    _set(options)
    # Ray Data prints a stage's failure with its traceback; the job tells it in a sentence.
    with DataContext.current(options), warnings.catch_warnings(), log_level("ray.data", logging.CRITICAL):
        # Ray advises a setting that jobs do not have, for a pool that a short job does not fill.
        warnings.filterwarnings("ignore", message="The minimum number of concurrent actors")
        yield


def _set(context: DataContext) -> None:
    set_for_stages(context)
    context.max_errored_blocks = 0
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def set_for_stages(context: DataContext) -> None:
    """Set the options that the stages of a job count on, also in a dataset that is the user's."""
    # Ray gathers the tables that a worker gives for one block up to this; the default is twice as much.
    context.target_max_block_size = BLOCK_BYTES
    # Else a stage's own error is wrapped, and its type and message are lost on the way to the driver.
    context.raise_original_map_exception = True
    context.actor_init_retry_on_errors = False


@contextmanager
def log_level(name: str, level: int) -> Iterator[None]:
    """Have a logger tell nothing below a level in the block."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def kept_process() -> Iterator[None]:
    """Put back what starting or joining a Ray, and leaving it, changes of this process: its next Ray finds it so."""
    environment = _variables()
    had_faulthandler = faulthandler.is_enabled()
    # Ray warns in a thread that is not the main one that it can set no way of its own with SIGTERM, and shall not.
    with log_level("ray", logging.ERROR):
        try:
            yield
        finally:
            for name in _variables().keys() - environment.keys():
                del os.environ[name]
            os.environ.update(environment)
            if not had_faulthandler:
                faulthandler.disable()


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_") or name == BREAKPOINT}


@contextmanager
def kept_sigterm() -> Iterator[None]:
    """Put back what is done at SIGTERM: Ray's own way leaves it to the interpreter's end to write anything."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
