"""Does something again and again, from a thread of its own, while a block is entered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeating(act: Callable[[], None], seconds: float, name: str) -> Iterator[None]:
    """Call ``act`` each time so many seconds are over; the last call is waited for. ``name`` is the thread's."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            act()

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
