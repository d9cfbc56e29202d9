"""Upserts of whole points: to a server they are written from columns, elsewhere they are the client's models."""

from __future__ import annotations

import math
from contextlib import suppress
from functools import cached_property
from typing import Any
from urllib.parse import quote

import httpx
import orjson
from pydantic import BaseModel
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as messages
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.http.api_client import ApiClient, BaseMiddleware
from qdrant_client.http.exceptions import ResponseHandlingException

from pipelines.sinks.qdrant.batches import IN_JSON, IN_MESSAGES, IN_MODELS, NumberBytes, Points
from pipelines.sinks.qdrant.client import keep_connection
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.kept_connection import KeptConnection, pieces


class _Answer(BaseModel):
    """What the server answers an upsert, as far as it is read."""

    result: models.UpdateResult


class Upserts:
    """Makes and sends upserts of a collection by one client."""

    def __init__(self, client: QdrantClient, config: QdrantSinkConfig) -> None:
        self._client, self._name = client, config.collection
        self._timeout = math.ceil(config.timeout)
        self._by_models = config.path is not None
        self._by_grpc = config.prefer_grpc
        kept = None if self._by_models or self._by_grpc else keep_connection(client, config)
        self._exchange = None if kept is None else _Exchange(kept, config.collection)

    @property
    def numbers(self) -> NumberBytes:
        """How large numbers are in a request."""
        return IN_MODELS if self._by_models else IN_MESSAGES if self._by_grpc else IN_JSON

    def prepare(self, points: Points) -> None:
        """Make what takes the client's time, so that ``send`` need not. What cannot be made, ``send`` fails at."""
        with suppress(ValueError):
            _ = points.batch() if self._by_models else points.message if self._by_grpc else points.json

    def send(
        self, points: Points, only: models.Filter | None = None, mode: models.UpdateMode | None = None
    ) -> models.UpdateResult:
        """Upsert points; those that are there only where they match ``only``. Fails as the client's own call does."""
        if self._by_models:
            return self._client.upsert(self._name, points.batch(), wait=True, update_filter=only, update_mode=mode)
        return self._send_message(points, only, mode) if self._by_grpc else self._send_json(points, only, mode)

    def close(self) -> None:
        """Close the connections that are not the client's."""
        if self._exchange is not None:
            self._exchange.close()

    @cached_property
    def _call_upsert(self) -> Any:
        """The call of the client's own stub, by its channel, of a message that is written already."""
        # Which makes the channels.
        _ = self._client.grpc_points
        inner: Any = self._client._client
        return inner._grpc_channel_pool[0].unary_unary(
            "/qdrant.Points/Upsert", response_deserializer=messages.PointsOperationResponse.FromString
        )

    def _send_json(
        self, points: Points, only: models.Filter | None, mode: models.UpdateMode | None
    ) -> models.UpdateResult:
        conditions = {
            **({} if only is None else {"update_filter": only.model_dump(mode="json", exclude_none=True)}),
            **({} if mode is None else {"update_mode": mode.value}),
        }
        body = points.json[:-1] + b"," + orjson.dumps(conditions)[1:] if conditions else points.json
        if self._exchange is not None:
            return self._exchange.put(body)
        # The same request that the client makes, through its connections, timeouts, headers and errors. In pieces: of
        # what the socket does not take at once, the HTTP library copies the rest, again and again.
        answer = self._client.http.client.request(
            type_=_Answer,
            method="PUT",
            url="/collections/{collection_name}/points",
            path_params={"collection_name": self._name},
            params={"wait": "true"},
            headers={"Content-Type": "application/json", "Content-Length": str(len(body))},
            content=pieces(body),
        )
        return answer.result

    def _send_message(
        self, points: Points, only: models.Filter | None, mode: models.UpdateMode | None
    ) -> models.UpdateResult:
        conditions: dict[str, Any] = {
            **({} if only is None else {"update_filter": RestToGrpc.convert_filter(only)}),
            **({} if mode is None else {"update_mode": RestToGrpc.convert_update_mode(mode)}),
        }
        start = messages.UpsertPoints(collection_name=self._name, wait=True, **conditions)
        # Messages that are put together byte by byte are one message.
        answer = self._call_upsert(start.SerializeToString() + points.message, timeout=self._timeout)
        return GrpcToRest.convert_update_result(answer.result)


class _Exchange(ApiClient):
    """Upserts over a kept connection, whose answers and failures are read as the client reads those of its own."""

    def __init__(self, connection: KeptConnection, collection: str) -> None:
        self.middleware = BaseMiddleware()
        self._connection = connection
        self._path = f"/collections/{quote(collection, safe='')}/points?wait=true"

    def put(self, body: bytes) -> models.UpdateResult:
        """Send an upsert's JSON; fails as the client does."""
        request: Any = body
        return self.send(request, _Answer).result

    def send_inner(self, request: Any) -> httpx.Response:
        """Send a body where the client would send a request."""
        try:
            return self._connection.put(self._path, request)
        except httpx.TransportError as error:
            raise ResponseHandlingException(error) from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
