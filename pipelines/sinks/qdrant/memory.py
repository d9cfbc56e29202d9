"""Collections in this process's memory (``path: ":memory:"``), by qdrant-client's engine: they end with the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import RLock

from qdrant_client import QdrantClient

from pipelines.sinks.base import JobFacts
from pipelines.sinks.qdrant.folder_engine import MEMORY


class MemoryClient(QdrantClient):
    """The one client of this process's collections in memory: jobs and searchers share it."""

    def __init__(self) -> None:
        super().__init__(MEMORY)

    def close(self, grpc_grace: float | None = None, **kwargs: object) -> None:
        """Leave the collections: they stay until the process ends, or ``delete_collection``."""


@cache
def memory_client() -> QdrantClient:
    """Return this process's client of collections in memory."""
    return MemoryClient()


class MemoryLease:
    """The record of who writes to the collections in memory: a run of another thread, if any."""

    place = f"qdrant:{MEMORY}"
    exclusive = True
    _record: str | None = None
    _lock = RLock()

    def prepare(self, job: JobFacts) -> None:
        """Nothing is to be made."""

    def read(self) -> str | None:
        """See LeaseStore."""
        return MemoryLease._record

    def create(self, text: str) -> bool:
        """See LeaseStore."""
        with self._lock:
            first = MemoryLease._record is None
            if first:
                MemoryLease._record = text
            return first

    def write(self, text: str) -> None:
        """See LeaseStore."""
        MemoryLease._record = text

    def remove(self) -> None:
        """See LeaseStore."""
        MemoryLease._record = None

    def hurry(self) -> None:
        """Memory always answers."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See LeaseStore."""
        with self._lock:
            yield

    def close(self) -> None:
        """Nothing is open."""
