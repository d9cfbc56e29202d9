"""What failures mean: classified from the errors of real gRPC calls, and of qdrant-client's REST side."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import httpx
import pytest
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from pipelines.errors import SinkError
from pipelines.run.stages.write import write_rows
from pipelines.sinks.base import JobFacts
from pipelines.sinks.qdrant.client import open_client
from pipelines.sinks.qdrant.retry import classify
from pipelines.sinks.qdrant.writer import QdrantWriter
from tests.pipelines.sinks import qdrant_help as qdrant
from tests.pipelines.sinks import rows
from tests.pipelines.sinks.qdrant.conftest import CODES, ScriptedPoints

FACTS = rows.job()


def write(servicer: Any, count: int = 20, facts: JobFacts = FACTS, **options: Any) -> Any:
    config = qdrant.config(url="http://127.0.0.1:1", prefer_grpc=True, grpc_port=servicer.port, **options)
    client = open_client(config)
    try:
        writer = QdrantWriter(client, config, facts, was_empty=True)
        return writer.write(rows.table(facts, rows.documents(count)))
    finally:
        client.close()


@pytest.mark.parametrize(
    "status",
    [
        (CODES.UNAVAILABLE, "shard is away", ()),
        (CODES.DEADLINE_EXCEEDED, "too slow", ()),
        (CODES.INTERNAL, "service error", ()),
        (CODES.RESOURCE_EXHAUSTED, "rate limit", (("retry-after", "1"),)),
    ],
    ids=lambda status: status[0].name,
)
def test_passing_grpc_statuses_are_tried_again(servicer: ScriptedPoints, status: Any) -> None:
    servicer.script = [status, status]
    result = write(servicer)
    assert (result.written, result.retries) == (20, 2)
    assert len(set(servicer.points)) == 20


def test_every_vector_kind_travels_over_grpc(servicer: ScriptedPoints) -> None:
    facts = rows.job(rows.ALL_KINDS)
    assert write(servicer, facts=facts).written == 20
    vectors = servicer.last.vectors.vectors.vectors
    text = "text number 19"
    assert list(vectors["dense"].dense.data) == pytest.approx(rows.dense_of(text))
    assert list(vectors["terms"].sparse.indices) == [0, 1, 2]
    assert [list(token.data) for token in vectors["tokens"].multi_dense.vectors] == [
        pytest.approx(rows.dense_of(word)) for word in text.split()
    ]


def test_a_grpc_request_over_the_budget_is_split(servicer: ScriptedPoints) -> None:
    servicer.script = [(CODES.RESOURCE_EXHAUSTED, "please try to split your request", ())]
    assert write(servicer).written == 20
    assert servicer.sizes == [20, 10, 10]


def test_a_point_refused_over_grpc_goes_alone(servicer: ScriptedPoints) -> None:
    servicer.refuses = "d7"
    result = write(servicer)
    assert result.written == 19
    assert "vector is odd" in result.rejected[7].message


def test_a_point_that_the_server_breaks_at_goes_alone_while_it_takes_others(servicer: ScriptedPoints) -> None:
    servicer.breaks_at = "d7"
    result = write(servicer, retry_seconds=0.2)
    assert result.written == 19 and "task panicked" in result.rejected[7].message
    assert set(servicer.points) == {f"d{n}" for n in range(20)} - {"d7"}


def test_a_point_alone_in_its_request_that_the_server_breaks_at_is_told_from_a_server_that_takes_none(
    servicer: ScriptedPoints,
) -> None:
    servicer.breaks_at = "d1"
    result = write(servicer, 2, retry_seconds=0.2, batch_points=1)
    assert result.written == 1 and list(result.rejected) == [1]
    servicer.breaks_at = "d0"
    with pytest.raises(SinkError, match=r"tried for up to 0.2 s\): INTERNAL task panicked"):
        write(servicer, 1, retry_seconds=0.2)


def test_a_server_that_breaks_at_every_point_ends_the_run_soon(servicer: ScriptedPoints) -> None:
    servicer.script = [(CODES.UNAVAILABLE, "shard is away", ())] * 50
    with pytest.raises(SinkError, match=r"upserting 20 points failed .*shard is away"):
        write(servicer, retry_seconds=0)
    assert len(servicer.sizes) < 10


@pytest.mark.parametrize(
    "status",
    [
        (CODES.INTERNAL, "failed to decode Protobuf message: recursion limit reached", ()),
        (CODES.RESOURCE_EXHAUSTED, "Received message larger than max (70000000 vs. 67108864)", ()),
    ],
    ids=["nested", "large"],
)
def test_a_request_that_cannot_be_sent_or_read_is_split_and_not_tried_again(
    servicer: ScriptedPoints, status: Any
) -> None:
    servicer.script = [status, status]
    assert (write(servicer).retries, servicer.sizes) == (0, [20, 10, 5, 5, 10])


def test_a_payload_nested_deeper_than_grpc_sends_is_that_row_s_alone(servicer: ScriptedPoints) -> None:
    deep = '{"p": ' + "[" * 300 + "]" * 300 + "}"
    table = rows.table(FACTS, [*rows.documents(3), ("deep", "text", deep), *rows.documents(3, first=3)])
    client = open_client(qdrant.config(url="http://127.0.0.1:1", prefer_grpc=True, grpc_port=servicer.port))
    with closing(QdrantWriter(client, qdrant.config(path="unused"), FACTS, was_empty=True)) as writer:
        result = write_rows(writer.write, table)
    assert result.written == 6 and list(result.rejected) == [3]
    assert sorted(servicer.points) == [f"d{n}" for n in range(6)]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ((CODES.UNAUTHENTICATED, "no key", ()), "API key is missing or wrong"),
        ((CODES.PERMISSION_DENIED, "read only", ()), "does not permit"),
        ((CODES.NOT_FOUND, "no collection", ()), "no such collection"),
        ((CODES.INTERNAL, "No space left on device: WAL", ()), "disk is full"),
        ((CODES.RESOURCE_EXHAUSTED, "disk quota exceeded", ()), "quota is used up"),
    ],
    ids=lambda value: value[0].name if isinstance(value, tuple) else "",
)
def test_final_grpc_statuses_end_the_run_at_once(servicer: ScriptedPoints, status: Any, message: str) -> None:
    servicer.script = [status]
    with pytest.raises(SinkError, match=message):
        write(servicer)
    assert servicer.sizes == [20]


def response(status: int, body: bytes = b"{}") -> UnexpectedResponse:
    return UnexpectedResponse(status, "reason", body, httpx.Headers())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ResourceExhaustedResponse("slow down", 7), "passing"),
        (response(429), "throttled"),
        (response(408), "passing"),
        (response(500), "passing"),
        (response(502, b"<html>bad gateway</html>"), "passing"),
        (response(200, b"<html>a login page</html>"), "passing"),
        (response(400), "request"),
        (response(413), "request"),
        (response(422), "request"),
        (response(301), "final"),
        (response(401), "final"),
        (response(403), "final"),
        (response(404), "final"),
        (response(507), "final"),
        (response(500, b'{"status": {"error": "No space left on device"}}'), "final"),
        (ResponseHandlingException(httpx.ReadTimeout("timed out")), "passing"),
        (ResponseHandlingException(httpx.ConnectError("refused")), "passing"),
        (ValueError("could not broadcast"), "request"),
        (OSError(28, "No space left on device"), "final"),
        (sqlite3.OperationalError("database or disk is full"), "final"),
        (sqlite3.DataError("string or blob too big"), "request"),
        (ValueError("Collection books not found"), "final"),
        (ValueError("Vector x is not found in the collection"), "request"),
    ],
)
def test_rest_failures(error: Exception, kind: str) -> None:
    failure = classify(error)
    assert failure is not None
    assert failure.kind == kind


def test_what_is_no_failure_of_qdrant_is_nobody_s_to_retry() -> None:
    assert classify(TypeError("a mistake in the code")) is None


def test_a_long_answer_is_quoted_in_part() -> None:
    failure = classify(response(502, b"x" * 100_000))
    assert failure is not None
    assert len(failure.message) < 600
