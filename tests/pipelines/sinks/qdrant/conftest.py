from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
from qdrant_client import grpc as messages

CODES = grpc.StatusCode


class ScriptedPoints(messages.PointsServicer):
    """Takes points, after answering with the statuses it was given: (code, message, trailing metadata)."""

    def __init__(self) -> None:
        self.port = 0
        self.script: list[tuple[Any, str, tuple[tuple[str, str], ...]]] = []
        self.refuses = ""
        self.breaks_at = ""
        self.points: list[str] = []
        self.sizes: list[int] = []

    def Upsert(self, request: Any, context: Any) -> Any:
        ids = [point.payload["document_id"].string_value for point in request.points]
        self.sizes.append(len(ids))
        if self.script:
            code, message, metadata = self.script.pop(0)
            context.set_trailing_metadata(metadata)
            context.abort(code, message)
        if self.refuses in ids:
            context.abort(CODES.INVALID_ARGUMENT, "Wrong input: vector is odd")
        if self.breaks_at in ids:
            context.abort(CODES.INTERNAL, "task panicked")
        self.points += ids
        self.last = request.points[-1]
        return messages.PointsOperationResponse(
            result=messages.UpdateResult(operation_id=1, status=messages.UpdateStatus.Completed)
        )


@pytest.fixture
def servicer() -> Iterator[ScriptedPoints]:
    """A gRPC server of this process."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    scripted = ScriptedPoints()
    register: Any = messages.add_PointsServicer_to_server
    register(scripted, server)
    scripted.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield scripted
    server.stop(None)
