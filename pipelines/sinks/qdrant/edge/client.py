"""A client of qdrant-edge's engine in a folder, which has the methods of qdrant-client."""

from __future__ import annotations

from qdrant_client import QdrantClient

from pipelines.sinks.qdrant.edge.engine import EdgeEngine


class EdgeClient(QdrantClient):
    """Qdrant's client on a folder of ``engine: edge``; see ``EdgeEngine`` for what it can do and raises."""

    def __init__(self, path: str) -> None:
        super().__init__(":memory:")
        self._client = self._engine = EdgeEngine(path)

    def build_indexes(self, collection_name: str) -> None:
        """Build what makes searches quick over the points written since; takes minutes where they are many."""
        self._engine.build_indexes(collection_name)
