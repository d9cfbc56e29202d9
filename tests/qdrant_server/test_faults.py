"""Each fault as a client on the wire sees it, and what it leaves behind."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from tests.qdrant_server import Fault, QdrantTestServer
from tests.qdrant_server.faults import ERRORS
from tests.waiting import wait_until

pytestmark = pytest.mark.server

BATCH = {"batch": {"ids": [10, 11, 12, 13], "vectors": {"v": [[1.0, 2.0]] * 4}, "payloads": [{"a": 1}] * 4}}
POINTS = {"points": [{"id": i, "vector": {"v": [1.0, 2.0]}} for i in range(5)]}


@pytest.fixture
def http(qdrant_server: QdrantTestServer) -> httpx.Client:
    """A bare HTTP client of a server with one collection, ``c``, of 2-d vectors ``v``."""
    client = httpx.Client(base_url=f"{qdrant_server.url}/collections/c", timeout=30)
    client.put(
        client.base_url.copy_with(path="/collections/c"), json={"vectors": {"v": {"size": 2, "distance": "Dot"}}}
    ).raise_for_status()
    qdrant_server.clear()
    return client


def put(http: httpx.Client, body: dict[str, Any] = POINTS) -> httpx.Response:
    return http.put("/points", params={"wait": "true"}, json=body)


def count(http: httpx.Client) -> int:
    return int(http.post("/points/count", json={"exact": True}).json()["result"]["count"])


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize(("applied", "stored"), [("nothing", 0), ("half", 2), ("all", 5)])
def test_an_error_fault_answers_as_qdrant_does_and_applies_what_it_is_told(
    qdrant_server: QdrantTestServer, http: httpx.Client, kind: Any, applied: Any, stored: int
) -> None:
    qdrant_server.inject(Fault(kind=kind, applied=applied, retry_after=7))
    status, message = ERRORS[kind]
    answer = put(http)
    assert answer.status_code == status == int(kind[:3])
    assert answer.json() == {"status": {"error": message}, "time": 0.0}
    assert answer.headers.get("Retry-After") == ("7" if kind == "429_wait" else None)
    assert count(http) == stored
    assert put(http).status_code == 200


def test_the_client_tells_a_429_to_wait_for_from_a_429_to_split(
    qdrant_server: QdrantTestServer, http: httpx.Client
) -> None:
    client = QdrantClient(url=qdrant_server.url)
    point = models.PointStruct(id=1, vector={"v": [1.0, 2.0]})
    qdrant_server.faults([Fault(kind="429_wait", retry_after=3), Fault(kind="429_split")])
    with pytest.raises(ResourceExhaustedResponse, match="Rate limiting exceeded") as wait:
        client.upsert("c", [point])
    assert wait.value.retry_after_s == 3
    with pytest.raises(UnexpectedResponse, match="split your request") as split:
        client.upsert("c", [point])
    assert split.value.status_code == 429


def test_a_proxy_error_has_a_body_that_is_not_json(qdrant_server: QdrantTestServer, http: httpx.Client) -> None:
    qdrant_server.inject(Fault(kind="502_html"))
    answer = put(http)
    assert (answer.status_code, answer.headers["Content-Type"]) == (502, "text/html")
    assert count(http) == 0


@pytest.mark.parametrize(("applied", "stored"), [(None, 5), ("nothing", 0), ("half", 2)])
def test_wait_timeout_is_a_200_that_is_not_completed(
    qdrant_server: QdrantTestServer, http: httpx.Client, applied: Any, stored: int
) -> None:
    qdrant_server.inject(Fault(kind="wait_timeout", applied=applied))
    answer = put(http)
    assert (answer.status_code, answer.json()["result"]["status"]) == (200, "wait_timeout")
    assert count(http) == stored


@pytest.mark.parametrize(("applied", "stored"), [("nothing", 0), ("half", 2), ("all", 5)])
def test_a_dropped_connection_has_no_answer(
    qdrant_server: QdrantTestServer, http: httpx.Client, applied: Any, stored: int
) -> None:
    qdrant_server.inject(Fault(kind="drop", applied=applied))
    with pytest.raises(httpx.ReadError, match="Connection reset by peer"):
        put(http)
    (entry,) = qdrant_server.requests("PUT")
    assert (entry.status, entry.fault) == (0, "drop")
    assert count(http) == stored


def test_the_client_sees_a_drop_as_a_failed_response(qdrant_server: QdrantTestServer, http: httpx.Client) -> None:
    qdrant_server.inject(Fault(kind="drop"))
    with pytest.raises(ResponseHandlingException, match="Connection reset by peer"):
        QdrantClient(url=qdrant_server.url).upsert("c", [models.PointStruct(id=1, vector={"v": [1.0, 2.0]})])


def test_half_a_batch_body_is_the_first_half_of_every_column(
    qdrant_server: QdrantTestServer, http: httpx.Client
) -> None:
    qdrant_server.inject(Fault(kind="500", applied="half"))
    assert put(http, BATCH).status_code == 500
    stored = http.post("/points/scroll", json={"with_payload": True}).json()["result"]["points"]
    assert [(point["id"], point["payload"]) for point in stored] == [(10, {"a": 1}), (11, {"a": 1})]


def test_a_stalled_request_outlives_its_client_and_is_served_when_released(
    qdrant_server: QdrantTestServer, http: httpx.Client
) -> None:
    qdrant_server.inject(Fault(kind="stall"))
    with pytest.raises(httpx.ReadTimeout, match="timed out"):
        http.put("/points", json=POINTS, timeout=httpx.Timeout(30, read=0.2))
    wait_until(lambda: bool(qdrant_server.requests("PUT")))
    (held,) = qdrant_server.requests("PUT")
    assert (held.status, held.points, held.fault) == (None, 5, "stall")
    assert count(http) == 0
    qdrant_server.clear()
    wait_until(lambda: count(http) == 5)


def test_a_stall_of_some_seconds_ends_by_itself(qdrant_server: QdrantTestServer, http: httpx.Client) -> None:
    qdrant_server.inject(Fault(kind="stall", seconds=0.05))
    assert put(http).status_code == 200
    assert qdrant_server.requests("PUT")[0].seconds >= 0.05
    assert count(http) == 5


def test_skip_and_times_choose_the_requests(qdrant_server: QdrantTestServer, http: httpx.Client) -> None:
    qdrant_server.inject(Fault(kind="500", skip=2, times=2))
    assert [put(http).status_code for _ in range(6)] == [200, 200, 500, 500, 200, 200]
    qdrant_server.clear()
    qdrant_server.inject(Fault(kind="503", times=None))
    assert [put(http).status_code for _ in range(5)] == [503] * 5
    qdrant_server.clear()
    assert put(http).status_code == 200


def test_a_fault_strikes_only_its_method_and_path(qdrant_server: QdrantTestServer, http: httpx.Client) -> None:
    qdrant_server.faults([Fault(kind="500", method=None, path_suffix="/points/count"), Fault(kind="408")])
    assert http.post("/points/scroll", json={}).status_code == 200
    assert http.post("/points/count", json={}).status_code == 500
    assert put(http).status_code == 408
    assert put(http).status_code == 200


def test_faults_strike_one_after_the_other(qdrant_server: QdrantTestServer, http: httpx.Client) -> None:
    qdrant_server.faults([Fault(kind="500"), Fault(kind="507", skip=1), Fault(kind="503")])
    assert [put(http).status_code for _ in range(4)] == [500, 503, 507, 200]


def test_the_log_tells_size_points_and_status(qdrant_server: QdrantTestServer, http: httpx.Client) -> None:
    put(http)
    put(http, BATCH)
    put(http, {"points": [{"id": -1, "vector": {}}]})
    http.post("/points/delete", json={"points": [1, 2, 3]})
    log = qdrant_server.requests()
    assert [(entry.method, entry.points, entry.status) for entry in log] == [
        ("PUT", 5, 200),
        ("PUT", 4, 200),
        ("PUT", 1, 400),
        ("POST", 3, 200),
    ]
    assert log[0].path == "/collections/c/points"
    assert log[0].query == {"wait": "true"}
    assert log[0].bytes == len(httpx.Request("PUT", "http://x", json=POINTS).content)
    assert [entry.in_flight for entry in log] == [1, 1, 1, 1]
    assert log == sorted(log, key=lambda entry: entry.started)
    qdrant_server.clear()
    assert httpx.get(qdrant_server.url).json()["title"] == "qdrant - vector search engine"
    assert qdrant_server.requests() == []


def test_requests_at_the_same_time_are_counted_in_flight(qdrant_server: QdrantTestServer, http: httpx.Client) -> None:
    qdrant_server.inject(Fault(kind="stall", times=3))
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(put, http) for _ in range(3)]
        wait_until(lambda: len(qdrant_server.requests("PUT")) == 3)
        assert sorted(entry.in_flight for entry in qdrant_server.requests("PUT")) == [1, 2, 3]
        qdrant_server.clear()
        assert [answer.result(30).status_code for answer in answers] == [200] * 3
    put(http)
    assert [entry.in_flight for entry in qdrant_server.requests("PUT")] == [1]


def test_a_request_cut_off_by_its_clients_death_leaves_no_trace(
    qdrant_server: QdrantTestServer, http: httpx.Client
) -> None:
    body = httpx.Request("PUT", qdrant_server.url, json=POINTS).content
    head = f"PUT /collections/c/points HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) + 1}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", qdrant_server.port)) as connection:
        connection.sendall(head.encode() + body)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert qdrant_server.requests() == []
    assert count(http) == 0


def test_a_path_qdrant_has_and_the_test_server_does_not_is_named(
    qdrant_server: QdrantTestServer, http: httpx.Client
) -> None:
    answer = http.post("/points/recommend", json={})
    assert answer.status_code == 404
    assert "does not serve POST /collections/c/points/recommend" in answer.json()["status"]["error"]
