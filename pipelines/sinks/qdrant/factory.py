"""Makes the sink of a collection, whether a server holds it or a folder."""

from __future__ import annotations

from pipelines.sinks.base import Sink
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.folder import FolderSink
from pipelines.sinks.qdrant.sink import QdrantSink


def make_sink(config: QdrantSinkConfig) -> Sink:
    """Make the sink of a collection; nothing is opened yet. An alias is no collection: see ``reindex.names``."""
    if config.alias is not None:
        raise ValueError(f"{config.title} is an alias: put the collection in its place first")
    return QdrantSink(config) if config.path is None else FolderSink(config)
