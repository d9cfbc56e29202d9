"""The record of who holds a collection on a server: an entry of its metadata."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from qdrant_client import QdrantClient

from pipelines.sinks.base import JobFacts
from pipelines.sinks.qdrant.client import open_client
from pipelines.sinks.qdrant.collection import Collection
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.description import LEASE

# Of a request: one that fails is made again in a while.
TIMEOUT, PATIENCE = 10.0, 3.0


class CollectionLease:
    """The record in a collection's metadata, by a connection of its own.

    The server merges entries of the metadata, and keeps a new value of one as it comes: of two runs that write at once
    the last one wins. A server older than 1.16 keeps no metadata, and reading finds nothing then.
    """

    exclusive = False

    def __init__(self, place: str, config: QdrantSinkConfig) -> None:
        self.place = place
        self._config = config
        self._client: QdrantClient | None = None
        self._quick = config.model_copy(
            update={"timeout": min(TIMEOUT, config.timeout), "retry_seconds": min(PATIENCE, config.retry_seconds)}
        )

    def prepare(self, job: JobFacts) -> None:
        """Create the collection, if there is none of that name."""
        with closing(open_client(self._config)) as client:
            collection = Collection(client, self._config)
            if collection.info() is None:
                # Another run may be quicker.
                collection.make(job)

    def read(self) -> str | None:
        """See LeaseStore."""
        info = self._collection().info()
        text = (info.config.metadata or {}).get(LEASE) if info is not None else None
        return text if isinstance(text, str) else None

    def create(self, text: str) -> bool:
        """See LeaseStore."""
        self.write(text)
        return True

    def write(self, text: str) -> None:
        """See LeaseStore."""
        self._collection().remember({LEASE: text})

    def remove(self) -> None:
        """See LeaseStore."""
        self._collection().remember({LEASE: None})

    def hurry(self) -> None:
        """Do nothing: a server is asked for a few seconds as it is."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Do nothing: a server has no locks."""
        yield

    def close(self) -> None:
        """See LeaseStore."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _collection(self) -> Collection:
        self._client = self._client or open_client(self._quick)
        return Collection(self._client, self._quick)
