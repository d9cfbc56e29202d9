"""What a round leaves behind that nobody wants: processes, session folders, locks and half files."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

import psutil

from pipelines.run.cluster.leftovers import PREFIX
from tests.chaos.job import ChaosJob

# Qdrant's embedded engine keeps the file that it locks, and it is free when its process is gone.
KEPT = "out/.lock"
UNWANTED = re.compile(r"(^|/)_tmp(/|$)|\.tmp\b|\.part$|\.lock$|lease|-journal$|-wal$|-shm$|/core\.")


def remains(job: ChaosJob, temporary: Path, *, own_ray: bool) -> list[str]:
    """List what is left of a job that is complete; ``own_ray``: no other Ray uses the temporary folder."""
    names = [str(path.relative_to(job.folder)) for path in sorted(job.folder.rglob("*"))]
    left = [name for name in names if UNWANTED.search(name) and name != KEPT]
    left += [str(path) for path in temporary.glob(f"{PREFIX}*")]
    if own_ray:
        left += [str(path) for path in temporary.glob("ray/*")]
    folders = [job.folder, temporary] if own_ray else [job.folder]
    return left + [f"process {process.pid} {process.name()}" for process in users(*folders)]


def users(*folders: Path) -> list[psutil.Process]:
    """Processes but this one that have a file of a folder open."""
    inside = tuple(f"{folder}/" for folder in folders)
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and any(file.path.startswith(inside) for file in process.open_files()):
                found.append(process)
    return found
