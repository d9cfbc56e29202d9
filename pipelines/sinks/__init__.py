"""Places a job writes to: one file a kind of sink."""

from __future__ import annotations

from pipelines.config.sinks import ParquetSinkConfig, QdrantSinkConfig
from pipelines.sinks.base import Sink


def make_sink(config: QdrantSinkConfig | ParquetSinkConfig) -> Sink:
    """Make the sink that a job's configuration names; nothing is opened yet."""
    # Imported by need: qdrant-client takes a worker more than a second to import.
    if isinstance(config, ParquetSinkConfig):
        from pipelines.sinks.parquet.sink import ParquetSink

        return ParquetSink(config)
    if config.path is not None:
        from pipelines.sinks.qdrant.folder import FolderSink

        return FolderSink(config)
    from pipelines.sinks.qdrant.sink import QdrantSink

    return QdrantSink(config)
