"""Fixtures for tests that need a Qdrant server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest
from qdrant_client import QdrantClient

from tests.qdrant_server.process import QdrantTestServer, real_server

SECRET_KEY, READER_KEY = "s3cret-s3cret", "r3ader-r3ader"


@pytest.fixture(scope="session")
def _qdrant_process() -> Iterator[QdrantTestServer]:
    with QdrantTestServer(grpc=True) as server:
        yield server


@pytest.fixture(scope="session")
def guarded_qdrant_server() -> Iterator[QdrantTestServer]:
    """A test server with keys, one of them for reading alone, a small body limit and strict mode."""
    strict = {"enabled": True, "upsert_max_batchsize": 20, "write_rate_limit": 60}
    with QdrantTestServer(
        api_key=SECRET_KEY, read_only_api_key=READER_KEY, max_body_bytes=20_000, strict_mode=strict, grpc=True
    ) as server:
        yield server


@pytest.fixture
def qdrant_server(request: pytest.FixtureRequest) -> QdrantTestServer:
    """The session's test server, empty and without faults. Skips where a real server is to be tested instead."""
    if real_server():
        pytest.skip("needs the test server's faults and log, but QDRANT_URL names a real server")
    server: QdrantTestServer = request.getfixturevalue("_qdrant_process")
    server.reset()
    return server


@pytest.fixture
def qdrant_address(request: pytest.FixtureRequest) -> tuple[str, str | None]:
    """URL and API key of the server that ``QDRANT_URL`` names, or else of the session's test server, emptied first."""
    return real_server() or (request.getfixturevalue("qdrant_server").url, None)


@pytest.fixture
def qdrant_url(qdrant_address: tuple[str, str | None]) -> Iterator[str]:
    """URL of a server without collections, for jobs, which read the key from the environment.

    A real server's collections that the test made are gone after it; one that has some before is left alone.
    """
    url, key = qdrant_address
    if not real_server():
        yield url
        return
    with closing(QdrantClient(url=url, api_key=key, timeout=30, check_compatibility=False)) as client:
        if before := [found.name for found in client.get_collections().collections]:
            pytest.skip(f"needs an empty server, but the one at QDRANT_URL has {len(before)} collections")
        yield url
        for found in client.get_collections().collections:
            client.delete_collection(found.name)


@pytest.fixture
def qdrant_client(qdrant_address: tuple[str, str | None]) -> Iterator[QdrantClient]:
    """A client of the server at ``qdrant_address``."""
    url, key = qdrant_address
    # the check asks from a thread of its own, which can outlive the server and warn
    client = QdrantClient(url=url, api_key=key, timeout=30, check_compatibility=False)
    yield client
    client.close()


@pytest.fixture
def qdrant_collection(qdrant_client: QdrantClient) -> Iterator[str]:
    """A name no other collection has; the collection and its aliases are gone after the test."""
    name = f"fleetembed-test-{uuid.uuid4()}"
    yield name
    qdrant_client.delete_collection(name)
