"""How many cores this process may use."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def available_cores() -> int:
    """Physical cores this process may use: its CPU affinity without hyperthreads, within its container's quota."""
    if sys.platform != "linux":
        return os.cpu_count() or 1
    allowed = os.sched_getaffinity(0)
    cores = {_siblings(cpu) for cpu in allowed}
    quota = _cgroup_quota()
    return max(1, len(cores) if quota is None else min(len(cores), round(quota)))


def _siblings(cpu: int) -> str:
    """Hyperthreads that share this one's core, in the kernel's notation."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)


def _cgroup_quota() -> float | None:
    """CPUs the container is limited to (cgroup v2 cpu.max: quota and period in microseconds), None without limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)
