"""Building the indexes of a shard of qdrant-edge, in a process of its own: see ``optimize``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pipelines.sinks.qdrant.edge import optimize
from pipelines.sinks.qdrant.edge.errors import EngineError

_SHOWN = 500


def build_indexes(folder: Path) -> None:
    """Build them and wait; nobody else may have the shard open meanwhile. Raises EngineError where that fails.

    A signal that ends the wait ends the building too: the points stay as they were, and are searched without.
    """
    command = [sys.executable, "-W", "ignore", str(Path(optimize.__file__)), str(folder), str(os.getpid())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "RUST_BACKTRACE": "0"}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        try:
            _, told = process.communicate()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        lines = told.decode(errors="replace").strip().splitlines() or [f"exit status {process.returncode}"]
        raise EngineError(
            f"the index of {folder} could not be built: {lines[-1][:_SHOWN]}; all points are there, and are compared "
            "one by one meanwhile: free memory or disk space, and run again"
        )
