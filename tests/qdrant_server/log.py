"""What was asked of the server, and how many requests it served at a time."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field


@dataclass
class LoggedRequest:
    """What came in and what became of it.

    ``in_flight`` counts the requests being served when this one arrived, itself included. ``status`` is None until
    the answer is ready, and 0 for a connection dropped without one. ``started`` is Unix time, ``seconds`` the time
    until the answer was ready. A call over gRPC (``protocol`` "grpc") has the method and path of the same request in
    REST.
    """

    method: str
    path: str
    query: dict[str, str]
    bytes: int
    points: int
    in_flight: int = 0
    started: float = 0.0
    seconds: float = 0.0
    status: int | None = None
    fault: str | None = None
    protocol: str = "http"


@dataclass
class RequestLog:
    """Requests in order of arrival, health and version checks left out. Safe to use from several threads."""

    entries: list[LoggedRequest] = field(default_factory=list)
    _in_flight: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def arrive(self, entry: LoggedRequest) -> None:
        """Note a request before it is served."""
        with self._lock:
            self._in_flight += 1
            entry.in_flight, entry.started = self._in_flight, time.time()
            self.entries.append(entry)

    def leave(self, entry: LoggedRequest, status: int) -> None:
        """Note the outcome, before the answer is sent: who has it must not find the request still in flight."""
        with self._lock:
            self._in_flight -= 1
            entry.seconds, entry.status = time.time() - entry.started, status

    def clear(self) -> None:
        """Forget what has arrived so far."""
        with self._lock:
            self.entries = []
