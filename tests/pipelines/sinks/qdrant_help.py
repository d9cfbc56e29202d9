"""Jobs and sinks for the Qdrant tests."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pyarrow as pa
from qdrant_client import QdrantClient

from pipelines.sinks.base import JobFacts, Sink, WriteResult
from pipelines.sinks.factory import make_sink
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from tests.pipelines.sinks import rows

NAME = "books"


def config(**options: Any) -> QdrantSinkConfig:
    """A sink's configuration that gives up on the server soon."""
    return QdrantSinkConfig(**{"type": "qdrant", "collection": NAME, "retry_seconds": 20, **options})


def opened(facts: JobFacts, **options: Any) -> Sink:
    """A sink that is open for a job."""
    sink = make_sink(config(**options))
    sink.open(facts)
    return sink


def run(facts: JobFacts, *tables: pa.Table, completed: bool = True, **options: Any) -> dict[str, Any]:
    """One run that writes all it is given; returns the figures."""
    sink = opened(facts, **options)
    try:
        with closing(sink.connect()) as writer:
            for table in tables:
                result = writer.write(table)
                assert result == WriteResult(written=table.num_rows, retries=result.retries)
    finally:
        figures = sink.finish(completed=completed)
    return figures


def write(sink: Sink, table: pa.Table) -> WriteResult:
    """Write a table through a writer of its own."""
    with closing(sink.connect()) as writer:
        return writer.write(table)


def held(sink: Sink, table: pa.Table) -> list[bool]:
    """Ask for the rows of a table through a writer of its own."""
    with closing(sink.connect()) as writer:
        return rows.held(writer, table)


def points(client: QdrantClient, *, vectors: bool = False) -> dict[Any, Any]:
    """All points of the collection by document and chunk; fails where one is there twice."""
    found, _ = client.scroll(NAME, limit=10_000, with_payload=True, with_vectors=vectors)
    by_name = {(p.payload["document_id"], p.payload.get("chunk_no", 0)): p for p in found if p.payload}
    assert len(by_name) == len(found)
    return by_name
