"""Makes the sink of a folder of Parquet files, in the layout that is asked for."""

from __future__ import annotations

from pipelines.sinks.base import Sink
from pipelines.sinks.parquet.config import ParquetSinkConfig


def make_sink(config: ParquetSinkConfig) -> Sink:
    """Make the sink of a folder; nothing is opened yet."""
    if config.layout == "qdrant":
        from pipelines.sinks.parquet.layout import ExportSink

        return ExportSink(config)
    from pipelines.sinks.parquet.sink import ParquetSink

    return ParquetSink(config)
