"""What failures mean: classified from the errors of real gRPC calls, and of qdrant-client's REST side."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from pipelines.errors import SinkError
from pipelines.sinks.base import JobFacts
from pipelines.sinks.qdrant.client import open_client
from pipelines.sinks.qdrant.retry import classify
from pipelines.sinks.qdrant.sink import QdrantWriter
from tests.pipelines.sinks import qdrant_help as qdrant
from tests.pipelines.sinks import rows
from tests.pipelines.sinks.qdrant.conftest import CODES, ScriptedPoints

FACTS = rows.job()


def write(servicer: Any, count: int = 20, facts: JobFacts = FACTS) -> Any:
    config = qdrant.config(url="http://127.0.0.1:1", prefer_grpc=True, grpc_port=servicer.port)
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
