"""A collection in the place of files."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from pipelines.config.source import SourceConfig
from pipelines.sources.base import Format
from pipelines.sources.split import Split


class QdrantCollection(Format):
    """Points of a Qdrant collection, which have ids, documents and chunks already."""

    name = "qdrant"
    is_table = False
    is_identified = True
    is_live = True

    def identified(self, split: Split, config: SourceConfig, *, block_rows: int) -> Iterator[pa.Table]:
        """See Format; raises SourceError where the server as a whole fails."""
        if config.qdrant is None:
            raise ValueError("the source is no collection")
        # Imported late: qdrant-client takes a second, and other sources need none.
        from pipelines.sources.qdrant.read import read_points

        return read_points(split, config.qdrant, block_rows=block_rows)
