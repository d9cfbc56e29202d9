"""Waiting for what happens in another thread or process."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 60


def wait_until(condition: Callable[[], object]) -> None:
    """Look again and again until a condition holds; fails after a minute."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {SECONDS} s in vain"
        time.sleep(0.01)
