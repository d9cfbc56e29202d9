"""Finding and killing one process of a job; only descendants of this process are ever looked at."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from random import Random

import psutil

# What Ray calls the processes that carry a job's stages out.
TITLES = {
    "embed": r"ray::MapWorker\(.*\bdense\b",
    "write": r"ray::Map\w+\(.*\bwrite\b",
    "read": r"ray::MapBatches\(.*\bread\b",
    "tally": r"ray::\w*[Tt]ally\b",
    "host": r"ray::FolderHost\b",
}
# A task is over soon: it is waited for rather than looked for.
SECONDS_TO_APPEAR = 60.0


def find(title: str, within: psutil.Process) -> list[psutil.Process]:
    """Find the descendants of a process that Ray calls so."""
    found = []
    for process in within.children(recursive=True):
        with suppress(psutil.Error):
            if re.match(title, " ".join(process.cmdline()).strip()):
                found.append(process)
    return found


def kill_one(victim: str, within: psutil.Process, random: Random, over: Callable[[], bool]) -> bool:
    """SIGKILL a process of a kind as soon as there is one; False where the job was over first."""
    deadline = time.monotonic() + SECONDS_TO_APPEAR
    while not over() and time.monotonic() < deadline:
        found = find(TITLES[victim], within)
        random.shuffle(found)
        for process in found:
            with suppress(psutil.Error):
                process.kill()
                return True
        time.sleep(0.02)
    return False
