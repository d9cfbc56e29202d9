"""The server as a process: its options, several writers, and its end."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import httpx
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from tests.qdrant_server import QdrantTestServer
from tests.qdrant_server.fixtures import READER_KEY, SECRET_KEY

pytestmark = pytest.mark.server

VECTORS = {"vectors": {"size": 2, "distance": "Dot"}}


def points(start: int, count: int) -> dict[str, Any]:
    return {"points": [{"id": i, "vector": [1.0, float(i)], "payload": {"n": i}} for i in range(start, start + count)]}


@pytest.fixture
def guarded(guarded_qdrant_server: QdrantTestServer) -> QdrantTestServer:
    guarded_qdrant_server.reset()
    return guarded_qdrant_server


def client_of(server: QdrantTestServer, key: str | None) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"api-key": key} if key else {}, timeout=30)


def test_requests_without_the_right_key_are_401_in_plain_text(guarded: QdrantTestServer) -> None:
    assert client_of(guarded, None).get("/healthz").status_code == 200
    missing, wrong = client_of(guarded, None).get("/collections"), client_of(guarded, "guess").get("/collections")
    assert (missing.status_code, missing.text) == (401, "Must provide an API key or an Authorization bearer token")
    assert (wrong.status_code, wrong.text) == (401, "Invalid API key or JWT")
    assert client_of(guarded, SECRET_KEY).get("/collections").status_code == 200
    bearer = httpx.get(f"{guarded.url}/collections", headers={"Authorization": f"Bearer {SECRET_KEY}"})
    assert bearer.status_code == 200


def test_a_read_only_key_may_not_write(guarded: QdrantTestServer) -> None:
    reader = client_of(guarded, READER_KEY)
    assert reader.get("/collections").status_code == 200
    refused = reader.put("/collections/r", json=VECTORS)
    assert (refused.status_code, "Forbidden" in refused.json()["status"]["error"]) == (403, True)


def test_the_client_passes_its_key_on(guarded: QdrantTestServer) -> None:
    with pytest.warns(UserWarning, match="insecure connection"):
        client = QdrantClient(url=guarded.url, api_key=SECRET_KEY)
    assert not client.collection_exists("nothing")
    with pytest.raises(UnexpectedResponse, match="Must provide an API key") as error:
        QdrantClient(url=guarded.url, check_compatibility=False).get_collections()
    assert error.value.status_code == 401


def test_a_body_over_the_limit_is_400(guarded: QdrantTestServer) -> None:
    http = client_of(guarded, SECRET_KEY)
    http.put("/collections/size", json=VECTORS).raise_for_status()
    body = {"points": [{"id": 1, "vector": [1.0, 2.0], "payload": {"text": "x" * 20_000}}]}
    answer = http.put("/collections/size/points", json=body)
    size = int(answer.request.headers["Content-Length"])
    assert answer.status_code == 400
    assert answer.json()["status"]["error"] == (
        f"Payload error: JSON payload ({size} bytes) is larger than allowed (limit: 20000 bytes)."
    )


def test_strict_mode_limits_points_a_request_and_a_minute(guarded: QdrantTestServer) -> None:
    http = client_of(guarded, SECRET_KEY)
    http.put("/collections/strict", json=VECTORS).raise_for_status()

    def put(count: int) -> httpx.Response:
        return http.put("/collections/strict/points?wait=true", json=points(0, count))

    too_many = put(21)
    assert too_many.status_code == 400
    assert too_many.json()["status"]["error"].startswith('Bad request: Limit exceeded 21 > 20 for "upsert limit"')
    assert [put(20).status_code for _ in range(3)] == [200, 200, 200]
    upsert = {"operations": [{"upsert": points(0, 21)}]}
    assert http.post("/collections/strict/points/batch", json=upsert).status_code == 400
    late = put(20)
    assert late.status_code == 429
    # a token a second: 20 are there after 20 s, less the time the requests took
    assert 1 <= int(late.headers["Retry-After"]) <= 20
    raised = {"strict_mode_config": {"upsert_max_batchsize": 1000, "write_rate_limit": 100}}
    http.patch("/collections/strict", json=raised).raise_for_status()
    never = put(101)
    assert (never.status_code, never.headers.get("Retry-After")) == (429, None)
    assert "please try to split your request" in never.json()["status"]["error"]
    assert put(100).status_code == 200
    by_id = http.post("/collections/strict/points/delete", json={"points": list(range(100))})
    assert (by_id.status_code, "Retry-After" in by_id.headers) == (429, True)
    by_filter = http.post("/collections/strict/points/delete?wait=true", json={"filter": {}})
    assert by_filter.json()["result"]["status"] == "completed"


def test_a_collection_overrides_the_servers_strict_mode(guarded: QdrantTestServer) -> None:
    http = client_of(guarded, SECRET_KEY)
    http.put("/collections/free", json={**VECTORS, "strict_mode_config": {"enabled": False}}).raise_for_status()
    assert http.put("/collections/free/points", json=points(0, 100)).status_code == 200


WRITER = """
import sys, httpx
url, start = sys.argv[1], int(sys.argv[2])
for first in range(start, start + 500, 50):
    rows = [{"id": i, "vector": [1.0, float(i)]} for i in range(first, first + 50)]
    answer = httpx.put(f"{url}/collections/shared/points?wait=true", json={"points": rows}, timeout=60)
    answer.raise_for_status()
"""


def test_several_processes_write_at_once(qdrant_server: QdrantTestServer) -> None:
    client = QdrantClient(url=qdrant_server.url, timeout=60)
    client.create_collection("shared", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, qdrant_server.url, str(start)]) for start in (0, 250, 900)
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    # 0 to 749 with an overlap, and 900 to 1399
    assert client.count("shared", exact=True).count == 1250
    assert sum(entry.points for entry in qdrant_server.requests("PUT", "/points")) == 1500


def test_the_server_ends_with_its_handle() -> None:
    with QdrantTestServer() as server:
        os.kill(server.pid, 0)
    with pytest.raises(ProcessLookupError, match="No such process"):
        os.kill(server.pid, 0)
    with pytest.raises(httpx.ConnectError, match="Connection refused"):
        httpx.get(server.url)
    server.stop()


def test_the_server_ends_when_its_parent_is_gone() -> None:
    with QdrantTestServer() as server:
        # what the end of the parent does to the pipe
        assert server._process.stdin
        server._process.stdin.close()
        assert server._process.wait(60) == 0


def test_a_server_that_cannot_start_says_so(qdrant_server: QdrantTestServer) -> None:
    with pytest.raises(RuntimeError, match="ended with 1 before it listened"):
        QdrantTestServer(port=qdrant_server.port)
