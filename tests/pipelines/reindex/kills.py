"""Commands in a process of their own that are killed (SIGKILL) when a server sees a certain request of theirs."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

from pipelines.cli.main import app
from tests.qdrant_server import Fault, QdrantTestServer
from tests.waiting import wait_until

# A process that has imported all of it once forks for each command.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__, "pipelines.reindex.commands"])


def killed(
    server: QdrantTestServer, config: Path, command: str, *faults: Fault, meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Start ``fleetembed reindex``, and kill it when the last of the faults has struck and ``meanwhile`` is over.

    ``meanwhile`` is called when the first one has struck; each further one is set then in the place of the one before.
    A request that is stalled is carried out after the kill, one that is dropped never is.
    """
    process = PROCESSES.Process(target=_call, args=("reindex", command, "--config", str(config)))
    _set(server, faults[0])
    process.start()
    try:
        for number, fault in enumerate(faults):
            if number:
                _set(server, fault)
            wait_until(lambda fault=fault: _has_struck(server, fault) or not process.is_alive())
            if not number:
                meanwhile()
        assert process.is_alive()
    finally:
        process.kill()
        process.join()
        server.clear()


def _set(server: QdrantTestServer, fault: Fault) -> None:
    server.clear()
    server.inject(fault)


def _has_struck(server: QdrantTestServer, fault: Fault) -> bool:
    return len(server.requests(fault.method, fault.path_suffix)) > fault.skip


def _call(*arguments: str) -> None:
    app(arguments)
