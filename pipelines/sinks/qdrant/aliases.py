"""What the aliases of a server name."""

from __future__ import annotations

from qdrant_client import QdrantClient


def alias_targets(client: QdrantClient) -> dict[str, str]:
    """Read the aliases of a server, each with the collection that it names: one request."""
    return {one.alias_name: one.collection_name for one in client.get_aliases().aliases}
