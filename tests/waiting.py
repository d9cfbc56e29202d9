"""Waiting for what happens in another thread or process."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

# How long what must come may take: far longer than it does, since a busy machine takes many times as long as a quiet
# one. Whoever waits in vain fails then. The limit of a whole test (pyproject.toml) is longer.
SECONDS = 400


def wait_until(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    """Look again and again until a condition holds; fails after so many seconds.

    Some conditions look through all processes of the machine: what is waited for shall have most of the core.
    """
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if condition():
            return
        assert began < deadline, f"waited {seconds} s in vain"
        time.sleep(max(0.01, 5 * (time.monotonic() - began)))


def wait_for(child: subprocess.Popen[str], condition: Callable[[], object]) -> None:
    """Wait until a condition holds while a process is at work; fails with its output where it ends before."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert child.poll() is None, f"the job ended early:\n{child.communicate()[0]}"
        assert time.monotonic() < deadline, "the job never came so far"
        time.sleep(0.02)
