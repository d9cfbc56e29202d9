"""Whether there is a Ray to share work and memory through."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType

_UNUSED: ContextVar[bool] = ContextVar("the running Ray is left alone", default=False)


def running_ray() -> ModuleType | None:
    """Return the ray module where this process is connected to a Ray, and may use it, else None.

    Never imports it: a check of a sink takes a moment, and that import takes longer.
    """
    ray = sys.modules.get("ray")
    # Half imported, by another thread, it has no such function yet.
    initialized = getattr(ray, "is_initialized", None)
    return ray if initialized is not None and initialized() and not _UNUSED.get() else None


@contextmanager
def without_ray() -> Iterator[None]:
    """Leave a running Ray alone: what happens inside stays in this process."""
    before = _UNUSED.set(True)
    try:
        yield
    finally:
        _UNUSED.reset(before)
