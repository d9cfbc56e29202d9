from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from pipelines.stores import s3 as s3_module
from tests.object_storage.server import KEY, SECRET, S3TestServer

_BUCKETS = count()


@pytest.fixture(scope="package")
def s3_server() -> Iterator[S3TestServer]:
    server = S3TestServer()
    with pytest.MonkeyPatch.context() as environment:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3"):
            environment.delenv(name, raising=False)
        environment.setenv("AWS_ACCESS_KEY_ID", KEY)
        environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        environment.setenv("AWS_ENDPOINT_URL", server.url)
        yield server
    server.close()


@pytest.fixture
def s3(s3_server: S3TestServer) -> S3TestServer:
    """The server, with an empty bucket of the test's own."""
    s3_server.start_anew(f"bucket-{next(_BUCKETS)}")
    return s3_server


@pytest.fixture
def one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves all trying again to the project, whose first pauses are shorter than those of AWS's client."""
    monkeypatch.setattr(s3_module, "ATTEMPTS", 1)
