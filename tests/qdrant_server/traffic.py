"""A request's way through the server: log, authentication, size, faults, route, answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
import pydantic

from tests.qdrant_server import routes
from tests.qdrant_server.engine import Call, Engine
from tests.qdrant_server.errors import ApiError, format_error, from_engine
from tests.qdrant_server.faults import ERRORS, Fault, FaultPlan, half
from tests.qdrant_server.log import LoggedRequest, RequestLog
from tests.qdrant_server.options import Options

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """One HTTP request; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """One HTTP answer."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


@dataclass(frozen=True)
class Asked:
    """A request in REST's terms, whichever way it came: ``body`` is JSON, ``size`` the bytes that it came in.

    ``problem`` is what is wrong with it beside what it asks for; a caller without a key is not told of that.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    size: int
    problem: ApiError | None = None
    protocol: str = "http"


@dataclass
class Traffic:
    """Serves requests and remembers them."""

    options: Options
    engine: Engine
    plan: FaultPlan = field(default_factory=FaultPlan)
    log: RequestLog = field(default_factory=RequestLog)

    def serve(self, request: Request) -> Reply | None:
        """Answer an HTTP request; None asks for the connection to be dropped."""
        # neither is logged: clients ask for the version from a thread of their own, at a time no test can foresee
        if request.path == "/":
            return _about(self.options.version)
        if request.path in HEALTH:
            return HEALTH[request.path]
        body, problem = _load(request.body)
        asked = Asked(
            request.method,
            request.path,
            request.query,
            request.headers,
            body,
            len(request.body),
            _too_large(self.options, request) or problem,
        )
        started = time.perf_counter()
        try:
            return self.answer(
                asked,
                lambda result: _reply(200, {"result": result, "status": "ok", "time": time.perf_counter() - started}),
            )
        except ApiError as error:
            return error_reply(error)

    def answer(self, asked: Asked, encode: Callable[[Any], T]) -> T | None:
        """Answer a request with its encoded result, or raise ApiError; None asks for the connection to be dropped."""
        entry = LoggedRequest(asked.method, asked.path, dict(asked.query), asked.size, _count_points(asked.body))
        entry.protocol = asked.protocol
        self.log.arrive(entry)
        status = 0
        try:
            answer = self._answer(asked, encode, entry)
            status = 0 if answer is None else 200
            return answer
        except ApiError as error:
            status = error.status
            raise
        finally:
            self.log.leave(entry, status)

    def _answer(self, asked: Asked, encode: Callable[[Any], T], entry: LoggedRequest) -> T | None:
        route, name, tail = routes.find(asked.method, asked.path)
        authenticate(self.options, asked.headers, route.writes, name)
        if asked.problem:
            raise asked.problem

        def carry_out(body: Any) -> T:
            call = Call(self.engine, name, routes.read_body(route, body), asked.query, tail)
            return _call(route, call, encode)

        due = self.plan.take(asked.method, asked.path)
        if due is None:
            return carry_out(asked.body)
        fault, released = due
        entry.fault = fault.kind
        if fault.kind == "stall":
            released.wait(fault.seconds)
            return carry_out(asked.body)
        applied = half(asked.body) if fault.applies == "half" else asked.body
        if fault.applies != "nothing" and applied is not None:
            carry_out(applied)
        if fault.kind == "drop":
            return None
        return encode(_fault_result(fault))


def _load(body: bytes) -> tuple[Any, ApiError | None]:
    if not body:
        return None, None
    try:
        return orjson.loads(body), None
    except orjson.JSONDecodeError as error:
        return None, format_error(str(error))


def _count_points(body: Any) -> int:
    # before any validation: the log tells of malformed bodies too
    if not isinstance(body, dict):
        return 0
    operations = [part for operation in _list(body, "operations") for part in _values(operation)]
    batch = body.get("batch")
    ids = _list(batch, "ids") if isinstance(batch, dict) else []
    return len(_list(body, "points")) + len(ids) + sum(_count_points(part) for part in operations)


def _list(body: dict[str, Any], key: str) -> list[Any]:
    value = body.get(key)
    return value if isinstance(value, list) else []


def _values(operation: Any) -> list[Any]:
    return list(operation.values()) if isinstance(operation, dict) else []


def authenticate(options: Options, headers: Mapping[str, str], writes: bool, collection: str) -> None:
    """401 without a key where there is one, 403 for a write with the key for reading."""
    if options.api_key is None and options.read_only_api_key is None:
        return
    key = headers.get("api-key") or headers.get("authorization", "").removeprefix("Bearer ")
    if not key:
        raise ApiError(401, "Must provide an API key or an Authorization bearer token", content_type="text/plain")
    if key not in (options.api_key, options.read_only_api_key):
        raise ApiError(401, "Invalid API key or JWT", content_type="text/plain")
    if writes and key != options.api_key:
        raise ApiError(403, f"Forbidden: Write access to collection {collection} is required")


def _too_large(options: Options, request: Request) -> ApiError | None:
    size, limit = len(request.body), options.max_body_bytes
    if size <= limit:
        return None
    return ApiError(400, f"Payload error: JSON payload ({size} bytes) is larger than allowed (limit: {limit} bytes).")


def _call(route: routes.Route, call: Call, encode: Callable[[Any], T]) -> T:
    try:
        with call.engine.lock:
            return encode(route.answer(call))
    except ApiError:
        raise
    except Exception as error:
        raise from_engine(error) from error


def _fault_result(fault: Fault) -> dict[str, Any]:
    """What an update that is waited for too long gives; the other faults are raised."""
    if fault.kind == "wait_timeout":
        return {"operation_id": 0, "status": "wait_timeout"}
    if fault.kind == "502_html":
        raise ApiError(502, "<html><body><h1>502 Bad Gateway</h1></body></html>", content_type="text/html")
    status, message = ERRORS[fault.kind]
    headers = {"Retry-After": str(fault.retry_after)} if fault.kind == "429_wait" else {}
    raise ApiError(status, message, headers=headers)


def error_reply(error: ApiError) -> Reply:
    """Qdrant's error envelope, or plain text where Qdrant sends that."""
    if error.content_type:
        return Reply(error.status, error.message.encode(), error.headers, error.content_type)
    return _reply(error.status, {"status": {"error": error.message}, "time": 0.0}, error.headers)


def _reply(status: int, envelope: dict[str, Any], headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, orjson.dumps(envelope, default=_jsonable, option=orjson.OPT_SERIALIZE_NUMPY), headers or {})


def _jsonable(value: Any) -> Any:
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    raise TypeError(f"{type(value)} has no place in an answer")


def _about(version: str) -> Reply:
    about = {"title": "qdrant - vector search engine", "version": version, "commit": None}
    return Reply(200, orjson.dumps(about))


HEALTH = {
    "/healthz": Reply(200, b"healthz check passed", content_type="text/plain"),
    "/livez": Reply(200, b"healthz check passed", content_type="text/plain"),
    "/readyz": Reply(200, b"all shards are ready", content_type="text/plain"),
}
