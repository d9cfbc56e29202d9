"""Builds the indexes of one shard of qdrant-edge; run as a script, in a process of its own, with the shard's folder.

The engine keeps Python's lock while it builds, so that nothing else would run in the process that waits for it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys

_SET_DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG


def main(folder: str, parent: int) -> None:
    """Open the shard, build and close it; ends with the process that started it, where the system can tell."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            return
    # A terminal's Ctrl-C reaches this process too; the other one decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import qdrant_edge as edge

    shard = edge.EdgeShard.load(folder)
    # What a build left that was killed, and the engine would keep for ever.
    shutil.rmtree(f"{folder}/temp_segments", ignore_errors=True)
    shard.optimize()
    shard.flush()
    shard.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
