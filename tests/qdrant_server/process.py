"""Starts, steers and ends a test server in a child process."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from tests.qdrant_server.faults import Fault
from tests.qdrant_server.log import LoggedRequest
from tests.qdrant_server.options import Options
from tests.waiting import SECONDS

ROOT = Path(__file__).resolve().parents[2]


class QdrantTestServer:
    """A running test server, ready when the constructor returns; a context manager that ends it.

    Keyword arguments are those of ``Options``. Writers in any process reach it by ``url``, and with ``grpc`` at
    ``grpc_port`` of the same host; faults are set and the log
    is read through this handle, from any thread.
    """

    scripted = True

    def __init__(self, **options: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.qdrant_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        try:
            self.port, self.grpc_port = self._start(Options(**options))
        except BaseException:
            self.stop()
            raise
        self.url = f"http://127.0.0.1:{self.port}"
        self._control = httpx.Client(base_url=f"{self.url}/_test/", timeout=SECONDS, trust_env=False)

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    def _start(self, options: Options) -> tuple[int, int | None]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(asdict(options)) + "\n")
        self._process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(SECONDS):
                raise TimeoutError(f"the test server said nothing for {SECONDS} s; is the machine overloaded?")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the test server ended with {self._process.wait()} before it listened; see stderr")
        ports = json.loads(line)
        return ports["port"], ports["grpc_port"]

    def inject(self, fault: Fault) -> None:
        """Put one fault behind those that are still to come."""
        self.faults([fault])

    def faults(self, faults: Sequence[Fault]) -> None:
        """Put faults behind those that are still to come."""
        self._post("faults", [asdict(fault) for fault in faults])

    def defer(self, points: int, *, collection: str = "", reads: int = 1, status: str = "yellow") -> None:
        """Hide the last ``points`` points of a collection (empty: of all) from reads.

        They appear once the collection info has said ``status`` (yellow or grey) ``reads`` times; it may be set before
        the collection exists.
        """
        self._post("defer", {"collection": collection, "points": points, "reads": reads, "status": status})

    def clear(self) -> None:
        """Forget the faults still to come and the log, show deferred points, and let stalled requests go on."""
        self._post("clear")

    def reset(self) -> None:
        """Like ``clear``, and drop all collections and aliases."""
        self._post("reset")

    def requests(self, method: str | None = None, path_suffix: str = "") -> list[LoggedRequest]:
        """Requests since the last ``clear``, in order of arrival: all, or those of a method and end of path."""
        answer = self._control.get("requests")
        answer.raise_for_status()
        logged = [LoggedRequest(**entry) for entry in answer.json()]
        return [entry for entry in logged if method in (None, entry.method) and entry.path.endswith(path_suffix)]

    def stop(self) -> None:
        """Kill the server, if it still runs, and wait for its end."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe and not pipe.closed:
                pipe.close()
        if hasattr(self, "_control"):
            self._control.close()

    def _post(self, action: str, body: Any = None) -> None:
        self._control.post(action, json=body).raise_for_status()

    def __enter__(self) -> QdrantTestServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
