"""A Qdrant collection as a sink."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from pydantic import SecretStr
from qdrant_client import QdrantClient

from embedders.base import VectorSpec
from pipelines.errors import SinkError
from pipelines.sinks.base import JobFacts, LeaseStore
from pipelines.sinks.provenance import as_held
from pipelines.sinks.qdrant.client import api_key, open_client
from pipelines.sinks.qdrant.collection import Collection
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.deletion import Position, delete_points, pages, read_page
from pipelines.sinks.qdrant.description import COMPLETE, held_provenance, is_complete, state_entries
from pipelines.sinks.qdrant.guard import Guard
from pipelines.sinks.qdrant.lease import CollectionLease
from pipelines.sinks.qdrant.plain import PlainFacts
from pipelines.sinks.qdrant.vectors import stored_vectors
from pipelines.sinks.qdrant.writer import QdrantWriter


class QdrantSink:
    """Writes rows as points of one collection on a server.

    With a ``client`` given, that one is used for everything (and left open); so the embedded engine is served.
    The API key is read from the driver's environment and travels to workers inside the pickled sink only. With a
    ``guard``, what others write to the collection is left alone.
    """

    connects_at_once = False

    def __init__(
        self, config: QdrantSinkConfig, client: QdrantClient | None = None, *, guard: Guard | None = None
    ) -> None:
        self.config = config
        self.guard = guard
        self.workers = config.writers
        self.name = f"qdrant:{config.address}/{config.collection}"
        self.job: JobFacts | None = None
        self._client = client
        self._key: SecretStr | None = None
        self._was_empty = self._was_complete = False
        self._deferred: int | None = None

    def check(self, job: JobFacts) -> dict[str, Any]:
        """Compare the collection, if there is one, with the job; raises SinkError naming each difference."""
        with self._collection() as collection:
            info = collection.info()
            if info is None:
                return {"exists": False, "points": 0}
            collection.refuse_unless_fit(info, job, shared=self.guard is not None)
            return {"exists": True, "points": collection.count()}

    def provenance(self) -> dict[str, Any] | None:
        """Read what the job that filled the collection wrote into its metadata; see Sink."""
        with self._collection() as collection:
            info = collection.info()
            return None if info is None else collection.provenance(info)

    def stored_vectors(self) -> dict[str, VectorSpec]:
        """Read the collection's vectors by name; none where it is not there."""
        with self._collection() as collection:
            info = collection.info()
            return {} if info is None else stored_vectors(info)

    def lease_store(self) -> LeaseStore:
        """Return the entry of the collection's metadata that says who writes there; see Sink."""
        return CollectionLease(self.name, self.config)

    def open(self, job: JobFacts) -> None:
        """Create the collection, or check the one there and undo what a killed load left switched off."""
        self._deferred = None
        shared, is_plain = self.guard is not None, isinstance(job, PlainFacts)
        with self._collection() as collection:
            info = collection.info()
            if info is None:
                collection.create(job)
            else:
                collection.refuse_unless_fit(info, job, shared=shared)
                collection.restore_indexing(info, is_plain=is_plain)
            self._was_empty = collection.is_empty()
            if info is not None and not self._was_empty and not is_plain:
                job = as_held(job, [held_provenance(info)])
            collection.settle_for(job, info.payload_schema if info else {}, shared=shared)
            self.job = job
            self._was_complete = info is not None and is_complete(info) is True
            bulk = self.config.bulk_load
            if self.config.path is None and (self._was_empty if bulk == "auto" else bulk):
                self._deferred = collection.defer_indexing()

    def join(self, job: PlainFacts) -> None:
        """Create the collection, or check the one there, for one of several workers that may do so at once.

        The one that creates it switches indexing off, and nobody on again: that is left to ``finish`` on the driver.
        """
        with self._collection() as collection:
            made = collection.info() is None and collection.make(job)
            info = collection.existing()
            collection.refuse_unless_fit(info, job)
            collection.settle_for(job, info.payload_schema)
            if made and self.config.bulk_load:
                collection.defer_indexing()
        self._was_empty = made
        self.job = job

    def connect(self) -> QdrantWriter:
        """Make a worker's connection; ``open`` comes first."""
        if self.job is None:
            raise RuntimeError("open() the sink before connect()")
        client = self._client or self._connect_client()
        borrowed = client is self._client
        return QdrantWriter(
            client, self.config, self.job, was_empty=self._was_empty, borrowed=borrowed, guard=self.guard
        )

    def points(self, documents: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Scroll through the points of the corpus; see Sink."""
        with self._collection() as collection:
            yield from pages(lambda some, after: self.page(some, after, collection.client), documents)

    def page(
        self, documents: Sequence[str] | None, after: Position, client: QdrantClient | None = None
    ) -> tuple[pa.Table, Position]:
        """Read one page of ``points``, with the sink's own client unless one is given; see ``read_page``."""
        job, opened = self.job, client or self._client
        if job is None or opened is None:
            raise RuntimeError("open() the sink before points()")
        return read_page(opened, self.config, job, documents, after)

    def delete(self, points: pa.Table) -> None:
        """Delete points by their ids; see Sink."""
        with self._collection() as collection:
            delete_points(collection.client, self.config, points["id"].to_pylist())

    def finish(self, *, completed: bool, untouched: bool = False) -> dict[str, Any]:
        """Switch indexing on again, wait for it where the load put it off, and count the points.

        After a failed run the server may be away: what could not be undone is said in the figures (``error``), and
        the next ``open`` sees to it.
        """
        figures: dict[str, Any] = {"collection": self.config.collection}
        if self.job is None:
            return figures
        try:
            with self._collection() as collection:
                info = collection.info()
                if (
                    info is not None
                    and collection.restore_indexing(info, self._deferred, is_plain=isinstance(self.job, PlainFacts))
                    and completed
                ):
                    figures["status"] = collection.wait_until_indexed()
                if (
                    not isinstance(self.job, PlainFacts)
                    and info is not None
                    and (completed or (untouched and self._was_complete))
                ):
                    collection.remember(state_entries(COMPLETE))
                return {**figures, "points": collection.count()}
        except SinkError as error:
            if completed:
                raise
            return {**figures, "error": str(error)}

    def abandon(self) -> None:
        """Do nothing: no connection is open."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_client": None}

    @contextmanager
    def _collection(self) -> Iterator[Collection]:
        client = self._client or self._connect_client()
        try:
            yield Collection(client, self.config, written=self.job is not None)
        finally:
            if client is not self._client:
                client.close()

    def _connect_client(self) -> QdrantClient:
        self._key = self._key or api_key(self.config)
        return open_client(self.config, self._key)
