"""Fixtures for tests that need a Qdrant server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import cast

import pytest
from qdrant_client import QdrantClient

from tests.qdrant_server.process import QdrantTestServer
from tests.qdrant_server.real import RealQdrantServer, real_server

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
def qdrant_server(request: pytest.FixtureRequest) -> Iterator[QdrantTestServer]:
    """The session's test server, empty and without faults; a real one, which is empty too, where one is to be tested.

    A test skips there once it asks for what a real server has not, such as faults or a log. A real server that has
    collections is left alone, and those that the test made are gone after it.
    """
    if (named := real_server()) is None:
        server: QdrantTestServer = request.getfixturevalue("_qdrant_process")
        server.reset()
        yield server
        return
    real = RealQdrantServer(*named)
    real.skip_unless_empty()
    yield cast(QdrantTestServer, real)
    real.empty()


@pytest.fixture
def qdrant_address(qdrant_server: QdrantTestServer) -> tuple[str, str | None]:
    """URL and API key of a server without collections."""
    return real_server() or (qdrant_server.url, None)


@pytest.fixture
def qdrant_url(qdrant_server: QdrantTestServer) -> str:
    """URL of a server without collections, for jobs, which read the key from the environment."""
    return qdrant_server.url


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
