"""Which failures of a Qdrant request pass by themselves, which are the request's own fault, and which are final."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import grpc  # type: ignore[import-untyped]
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from embedders.retrying import Patience, retry
from pipelines.errors import SinkError
from pipelines.sinks.qdrant.edge.errors import EngineError

_FINAL_STATUS = {
    401: "the API key is missing or wrong",
    403: "the API key does not permit this",
    404: "there is no such collection, or it was deleted meanwhile",
    507: "the server's memory or disk quota is used up",
}
_FINAL_CODES = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "NOT_FOUND": 404}
_PASSING_CODES = frozenset(
    ("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED", "INTERNAL", "UNKNOWN", "DATA_LOSS")
)
# Of a request that cannot be written or read, whatever the state of the server. Protocol Buffers are nested 100 deep at
# the most: gRPC's client says the first, Qdrant's server the second; the third is of a message larger than a limit.
_UNSENDABLE = ("Exception serializing request", "failed to decode Protobuf message", "message larger than max")
# Of a request to change points, one of which was deleted meanwhile.
NO_POINT = "No point with id"
_NO_COLLECTION = re.compile(r"Collection .* not found", re.DOTALL)
T = TypeVar("T")
# What a failure says at its end while points are written.
WRITTEN_STAYS = "; points acknowledged before stay, and a new run goes on from there"


@dataclass(frozen=True)
class Failure:
    """What one failure means.

    ``passing``: the same request may succeed later (after ``retry_after`` seconds, if given). ``request``: this
    request never will, but a part of it may. ``throttled``: as ``request``, and a single point may pass later.
    ``final``: nothing will.
    """

    kind: Literal["passing", "request", "throttled", "final"]
    message: str
    retry_after: float | None = None


class RequestRefusedError(Exception):
    """The server will not take this request as it is, though perhaps a part of it."""


class OutOfPatienceError(SinkError):
    """A request failed, in a way that may pass, for as long as it was to be tried."""


class NotAppliedError(Exception):
    """The server answered an update before it was applied."""


def classify(error: BaseException) -> Failure | None:
    """Say what a failed call of qdrant-client means; None for an error that is not Qdrant's."""
    text = str(error)[:500]
    if isinstance(error, ResourceExhaustedResponse):
        return Failure("passing", f"429 {text}", float(error.retry_after_s))
    if isinstance(error, UnexpectedResponse):
        return _of_status(error.status_code or 0, _server_message(error))
    if isinstance(error, ResponseHandlingException):
        return Failure("passing", f"{type(error.source).__name__}: {error.source}"[:500])
    if isinstance(error, grpc.RpcError):
        return _of_code(error)
    # json: an answer cut short, or a proxy's page. QdrantException: a Retry-After that is no number of seconds.
    if isinstance(error, NotAppliedError | QdrantException | json.JSONDecodeError):
        return Failure("passing", f"{type(error).__name__}: {text}")
    if isinstance(error, EngineError):
        return Failure("final", text)
    if isinstance(error, sqlite3.DataError):
        # A point larger than SQLite takes.
        return Failure("request", text)
    if isinstance(error, sqlite3.Error | OSError):
        return Failure("final", text)
    if isinstance(error, ValueError):
        # The embedded engines say so whatever is wrong with a request.
        return Failure("final" if _NO_COLLECTION.fullmatch(text) else "request", text)
    return None


def call(
    request: Callable[[], T],
    *,
    what: str,
    seconds: float,
    points: int = 0,
    on_retry: Callable[[], None] = lambda: None,
    comfort: str = WRITTEN_STAYS,
) -> T:
    """Make a request until it succeeds, with pauses that grow or that the server asks for, for ``seconds`` in all.

    A refused request that carries ``points`` raises RequestRefusedError: the caller sends its parts. Other refusals
    and final failures raise SinkError, and so does, as OutOfPatienceError, the end of patience; the message ends in
    ``comfort``.
    """

    def passing(error: BaseException) -> bool:
        failure = classify(error)
        return failure is not None and (failure.kind == "passing" or (failure.kind == "throttled" and points < 2))

    def asked_pause(error: BaseException) -> float | None:
        failure = classify(error)
        return failure.retry_after if failure is not None else None

    try:
        return retry(request, Patience(seconds), passing=passing, asked_pause=asked_pause, on_retry=on_retry)
    except Exception as error:
        failure = classify(error)
        if failure is None:
            raise
        if points and (failure.kind == "request" or (failure.kind == "throttled" and points > 1)):
            raise RequestRefusedError(failure.message) from None
        if passing(error):
            raise OutOfPatienceError(
                f"{what} failed (tried for up to {seconds:g} s): {failure.message}{comfort}"
            ) from None
        raise SinkError(f"{what} failed: {failure.message}{comfort}") from None


def look_at(key: str, request: Callable[[], T], *, what: str, seconds: float) -> T:
    """Make a request before anything is read or written, as ``call`` does.

    Where the server stays away, the message names the ``key`` that has its address.
    """
    try:
        return call(request, what=what, seconds=seconds, comfort="")
    except OutOfPatienceError as error:
        raise OutOfPatienceError(f"{error}; look whether {key} is right, and whether the server runs") from None


def _of_status(status: int, message: str) -> Failure:
    text = f"{status} {message}"
    if "No space left" in message:
        return Failure("final", f"{text} (the server's disk is full)")
    if status == 404 and NO_POINT in message:
        return Failure("request", text)
    if status in _FINAL_STATUS:
        return Failure("final", f"{text} ({_FINAL_STATUS[status]})")
    if status == 429:
        # Without Retry-After: the request costs more than the whole budget, and only its parts can pass.
        return Failure("throttled", text)
    if status == 408 or status >= 500 or 200 <= status < 300:
        return Failure("passing", text)
    return Failure("request" if 400 <= status < 500 else "final", text)


def _of_code(error: grpc.RpcError) -> Failure:
    code, details = error.code().name, str(error.details() or "")[:500]
    text = f"{code} {details}"
    if any(words in details for words in _UNSENDABLE):
        return Failure("request", text)
    if "No space left" in details:
        return Failure("final", f"{text} (the server's disk is full)")
    if code == "NOT_FOUND" and NO_POINT in details:
        return Failure("request", text)
    if code in _FINAL_CODES:
        return Failure("final", f"{text} ({_FINAL_STATUS[_FINAL_CODES[code]]})")
    if code == "RESOURCE_EXHAUSTED":
        marks = " ".join(str(key) for key, _ in error.trailing_metadata() or ())
        if "quota" in f"{marks} {details}".lower():
            return Failure("final", f"{text} ({_FINAL_STATUS[507]})")
        return Failure("throttled", text)
    return Failure("passing" if code in _PASSING_CODES else "request" if code != "UNIMPLEMENTED" else "final", text)


def _server_message(error: UnexpectedResponse) -> str:
    """Take the message out of Qdrant's error body; what is not Qdrant's is quoted in part."""
    try:
        return str(json.loads(error.content)["status"]["error"])[:500]
    except (ValueError, KeyError, TypeError):
        return f"{error.reason_phrase} {error.content[:200].decode(errors='replace')}".strip()
