"""The gRPC side: the same requests as over REST, with the same engine, keys, faults and log behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent import futures
from functools import partial
from typing import Any

import grpc  # type: ignore[import-untyped]
from qdrant_client import grpc as messages

from tests.qdrant_server.errors import ApiError
from tests.qdrant_server.grpc_calls import COLLECTIONS, POINTS, GrpcCall
from tests.qdrant_server.traffic import Asked, Traffic, authenticate

THREADS = 16
# Qdrant takes and sends messages of any size.
SIZES = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

# As Qdrant's ``StorageError`` becomes a status of tonic (lib/storage/src/content_manager/conversions.rs); 501 and 502
# are what the test server and a proxy before it say.
CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.ALREADY_EXISTS,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    507: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


# A server of gRPC stops when nothing holds it any more.
_SERVERS: list[grpc.Server] = []


def serve_grpc(traffic: Traffic, port: int) -> int:
    """Serve on the loopback interface as long as the process lives; returns the port."""
    server = grpc.server(futures.ThreadPoolExecutor(THREADS), options=SIZES)
    add: list[tuple[Callable[..., None], Any]] = [
        (messages.add_PointsServicer_to_server, _Service(messages.PointsServicer(), POINTS, traffic)),
        (messages.add_CollectionsServicer_to_server, _Service(messages.CollectionsServicer(), COLLECTIONS, traffic)),
        (messages.add_QdrantServicer_to_server, _About(traffic)),
    ]
    for register, service in add:
        register(service, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    _SERVERS.append(server)
    return int(bound)


class _About:
    """Says the version; not logged, as over REST."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    def HealthCheck(self, message: Any, context: Any) -> Any:
        try:
            authenticate(self._traffic.options, _headers(context), False, "")
        except ApiError as error:
            _abort(context, error)
        return messages.HealthCheckReply(title="qdrant - vector search engine", version=self._traffic.options.version)


class _Service:
    """The calls of one service; those that the test server does not know are UNIMPLEMENTED, as in gRPC's own class."""

    def __init__(self, unknown: Any, calls: Mapping[str, GrpcCall], traffic: Traffic) -> None:
        self._unknown, self._calls, self._traffic = unknown, calls, traffic

    def __getattr__(self, name: str) -> Callable[[Any, Any], Any]:
        if name not in self._calls:
            answer: Callable[[Any, Any], Any] = getattr(self._unknown, name)
            return answer
        return partial(self._answer, self._calls[name])

    def _answer(self, call: GrpcCall, message: Any, context: Any) -> Any:
        fields = message.DESCRIPTOR.fields_by_name
        waits = {"wait": "true"} if "wait" in fields and message.wait else {}
        try:
            asked = Asked(
                call.method,
                call.path_of(message),
                waits,
                _headers(context),
                *_read(call, message),
                protocol="grpc",
            )
            answer = self._traffic.answer(asked, call.answer)
        except ApiError as error:
            _abort(context, error)
        if answer is None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Connection reset by peer")
        return answer


def _read(call: GrpcCall, message: Any) -> tuple[Any, int, ApiError | None]:
    try:
        return call.body_of(message), message.ByteSize(), None
    except ValueError as error:
        return None, message.ByteSize(), ApiError(400, f"Malformed message: {error}")


def _headers(context: Any) -> dict[str, str]:
    return dict(context.invocation_metadata())


def _abort(context: Any, error: ApiError) -> None:
    """End the call with an error's status; raises."""
    marks = {name.lower(): value for name, value in error.headers.items()}
    context.set_trailing_metadata(tuple(marks.items()))
    context.abort(CODES[error.status], error.message)
