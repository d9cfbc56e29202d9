"""Ctrl-C and SIGTERM: the first one stops what is under way cleanly, and no further one disturbs that.

The first raises KeyboardInterrupt. Those that come while files are closed and Ray is ended are answered with a line,
and the fifth ends the process where it is; in a notebook's kernel, which holds more than the run, it raises once more.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

FORCED = 5
FORCED_EXIT = 130
STOPPED_EXIT = 1
_signals = 0
_depth = 0
_first_acts: list[Callable[[], Any]] = []


@contextmanager
def stoppable(*numbers: signal.Signals, first_act: Callable[[], Any] | None = None) -> Iterator[None]:
    """Answer signals so until the block ends; blocks within blocks count together.

    ``first_act`` is called at the first signal, before all that closing takes: whoever sent it may not wait so long.
    Nothing is changed outside of the main thread, nor for a SIGINT that is ignored, as in the background, or that the
    program has a way of its own with.
    """
    global _depth, _signals
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    ours = {name: found for name, found in before.items() if name != signal.SIGINT or _is_plain(found)}
    _depth += 1
    if first_act is not None:
        _first_acts.append(first_act)
    try:
        for number in ours:
            signal.signal(number, _answer)
        yield
    finally:
        for number, found in ours.items():
            # `end_at_once` holds beyond the block.
            if signal.getsignal(number) == _answer:
                signal.signal(number, found)
        if first_act is not None:
            _first_acts.remove(first_act)
        _depth -= 1
        _signals = _signals if _depth else 0


def begin_act(act: Callable[[], Any], seconds: float, name: str) -> threading.Thread:
    """Carry out a first act from another thread, and wait for it so many seconds; returns the thread, ``name``.

    The signal may have come while this thread was in the middle of a library that must not be entered again.
    """
    thread = threading.Thread(target=act, name=name, daemon=True)
    thread.start()
    thread.join(seconds)
    return thread


def stop_if_asked() -> None:
    """Raise the KeyboardInterrupt of a signal anew: one that comes while an object is deleted is lost in Python."""
    if _signals:
        raise KeyboardInterrupt


def stop_quietly() -> None:
    """From now on, where nothing answers Ctrl-C yet, let it end the process with a line; for the time of imports."""
    if threading.current_thread() is threading.main_thread() and _is_plain(signal.getsignal(signal.SIGINT)):
        signal.signal(signal.SIGINT, _stop)


def end_at_once(code: int) -> None:
    """From now on, let Ctrl-C end the process with this exit code; for when all is done but the interpreter's end.

    Called within `stoppable`, it holds beyond the block: no moment is left in which Ctrl-C is a traceback.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: os._exit(code))


def _is_plain(handler: Any) -> bool:
    return handler in (signal.default_int_handler, _answer, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, b"stopped\n")
    os._exit(STOPPED_EXIT)


def _answer(number: int, frame: FrameType | None) -> None:
    global _signals
    _signals += 1
    if _signals == 1:
        for act in _first_acts:
            with suppress(Exception):
                act()
        raise KeyboardInterrupt
    if _signals < FORCED:
        # Past Python's streams: they may be in the middle of a write.
        with suppress(OSError):
            more = f"{FORCED - _signals} more times" if FORCED - _signals > 1 else "once more"
            os.write(2, f"still stopping: what is under way is being closed; {more} ends it at once\n".encode())
        return
    if _is_kernel():
        raise KeyboardInterrupt
    os._exit(FORCED_EXIT)


def _is_kernel() -> bool:
    return "ipykernel.kernelapp" in sys.modules
