"""Whether a Ray is there to share work and memory through."""

from __future__ import annotations

import sys
from types import ModuleType


def running_ray() -> ModuleType | None:
    """Return the ray module where this process is connected to a Ray, else None.

    Never imports it: a check of a sink takes a moment, and that import takes longer.
    """
    ray = sys.modules.get("ray")
    return ray if ray is not None and ray.is_initialized() else None
