"""A real Qdrant server in the place of the test server, where ``QDRANT_URL`` names one."""

from __future__ import annotations

import os
from contextlib import closing
from typing import Any

import pytest
from qdrant_client import QdrantClient


def real_server() -> tuple[str, str | None] | None:
    """URL and API key of a real Qdrant server to test against (``QDRANT_URL``, ``QDRANT_API_KEY``), if one is named."""
    url = os.environ.get("QDRANT_URL", "").rstrip("/")
    return (url, os.environ.get("QDRANT_API_KEY")) if url else None


class RealQdrantServer:
    """What a real server can be asked of a ``QdrantTestServer``: a test that asks for more skips there.

    It has no faults and no log to forget, and is not ``scripted``.
    """

    scripted = False

    def __init__(self, url: str, key: str | None) -> None:
        self.url, self._key = url, key
        self.grpc_port = int(os.environ.get("QDRANT_GRPC_PORT", "6334"))

    def skip_unless_empty(self) -> None:
        """Skip the test where the server has collections: they are somebody's."""
        if before := self._collections():
            pytest.skip(f"needs an empty server, but the one at QDRANT_URL has {len(before)} collections")

    def empty(self) -> None:
        """Drop all collections, and with them their aliases."""
        with closing(self._client()) as client:
            for name in self._collections():
                client.delete_collection(name)

    def clear(self) -> None:
        """Do nothing: nothing is scripted or logged."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        pytest.skip(f"needs the test server's {name}, but QDRANT_URL names a real server")

    def _collections(self) -> list[str]:
        with closing(self._client()) as client:
            return [found.name for found in client.get_collections().collections]

    def _client(self) -> QdrantClient:
        return QdrantClient(url=self.url, api_key=self._key, timeout=30, check_compatibility=False)
