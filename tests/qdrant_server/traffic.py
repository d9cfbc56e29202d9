"""A request's way through the server: log, authentication, size, faults, route, answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pydantic

from tests.qdrant_server import routes
from tests.qdrant_server.engine import Call, Engine
from tests.qdrant_server.errors import ApiError, format_error, from_engine
from tests.qdrant_server.faults import ERRORS, Fault, FaultPlan, half
from tests.qdrant_server.log import LoggedRequest, RequestLog
from tests.qdrant_server.options import Options


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


@dataclass
class Traffic:
    """Serves requests and remembers them."""

    options: Options
    engine: Engine
    plan: FaultPlan = field(default_factory=FaultPlan)
    log: RequestLog = field(default_factory=RequestLog)

    def serve(self, request: Request) -> Reply | None:
        """Answer a request; None asks for the connection to be dropped."""
        # neither is logged: clients ask for the version from a thread of their own, at a time no test can foresee
        if request.path == "/":
            return _about(self.options.version)
        if request.path in HEALTH:
            return HEALTH[request.path]
        body, problem = _load(request.body)
        points, size = _count_points(body), len(request.body)
        entry = LoggedRequest(request.method, request.path, dict(request.query), size, points)
        self.log.arrive(entry)
        reply: Reply | None = None
        try:
            reply = self._answer(request, body, problem, entry)
        except ApiError as error:
            reply = error_reply(error)
        finally:
            self.log.leave(entry, reply.status if reply else 0)
        return reply

    def _answer(self, request: Request, body: Any, problem: ApiError | None, entry: LoggedRequest) -> Reply | None:
        route, name, tail = routes.find(request.method, request.path)
        _authenticate(self.options, request, route.writes, name)
        _check_size(self.options, request)
        if problem:
            raise problem

        def carry_out(body: Any) -> Reply:
            call = Call(self.engine, name, routes.read_body(route, body), request.query, tail)
            return _call(route, call)

        due = self.plan.take(request.method, request.path)
        if due is None:
            return carry_out(body)
        fault, released = due
        entry.fault = fault.kind
        if fault.kind == "stall":
            released.wait(fault.seconds)
            return carry_out(body)
        applied = half(body) if fault.applies == "half" else body
        if fault.applies != "nothing" and applied is not None:
            carry_out(applied)
        return _fault_reply(fault)


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


def _authenticate(options: Options, request: Request, writes: bool, collection: str) -> None:
    if options.api_key is None and options.read_only_api_key is None:
        return
    key = request.headers.get("api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")
    if not key:
        raise ApiError(401, "Must provide an API key or an Authorization bearer token", content_type="text/plain")
    if key not in (options.api_key, options.read_only_api_key):
        raise ApiError(401, "Invalid API key or JWT", content_type="text/plain")
    if writes and key != options.api_key:
        raise ApiError(403, f"Forbidden: Write access to collection {collection} is required")


def _check_size(options: Options, request: Request) -> None:
    size, limit = len(request.body), options.max_body_bytes
    if size > limit:
        raise ApiError(
            400, f"Payload error: JSON payload ({size} bytes) is larger than allowed (limit: {limit} bytes)."
        )


def _call(route: routes.Route, call: Call) -> Reply:
    started = time.perf_counter()
    try:
        with call.engine.lock:
            result = route.answer(call)
            return _reply(200, {"result": result, "status": "ok", "time": time.perf_counter() - started})
    except ApiError:
        raise
    except Exception as error:
        raise from_engine(error) from error


def _fault_reply(fault: Fault) -> Reply | None:
    if fault.kind == "drop":
        return None
    if fault.kind == "wait_timeout":
        result = {"operation_id": 0, "status": "wait_timeout"}
        return _reply(200, {"result": result, "status": "ok", "time": 0.0})
    if fault.kind == "502_html":
        return Reply(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>", content_type="text/html")
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
