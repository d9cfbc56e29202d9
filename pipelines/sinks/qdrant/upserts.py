"""Upserts of whole points: over REST their JSON is written from columns, elsewhere they are the client's models."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
from pydantic import BaseModel
from qdrant_client import QdrantClient, models

from pipelines.sinks.qdrant.batches import Points
from pipelines.sinks.qdrant.config import QdrantSinkConfig

# Bytes that are handed to a connection at once.
PIECE_BYTES = 256 << 10


class _Answer(BaseModel):
    """What the server answers an upsert, as far as it is read."""

    result: models.UpdateResult


class Upserts:
    """Makes and sends upserts of a collection by one client."""

    def __init__(self, client: QdrantClient, config: QdrantSinkConfig) -> None:
        self._client, self._name = client, config.collection
        self._by_json = config.path is None and not config.prefer_grpc

    def prepare(self, points: Points) -> None:
        """Make what takes the client's time, so that ``send`` need not."""
        if self._by_json:
            _ = points.json
        else:
            points.batch()

    def send(
        self, points: Points, only: models.Filter | None = None, mode: models.UpdateMode | None = None
    ) -> models.UpdateResult:
        """Upsert points; those that are there only where they match ``only``. Fails as the client's own call does."""
        if not self._by_json:
            return self._client.upsert(self._name, points.batch(), wait=True, update_filter=only, update_mode=mode)
        conditions = {
            **({} if only is None else {"update_filter": only.model_dump(mode="json", exclude_none=True)}),
            **({} if mode is None else {"update_mode": mode.value}),
        }
        body = points.json[:-1] + b"," + orjson.dumps(conditions)[1:] if conditions else points.json
        # The same request that the client makes, through its connections, timeouts, headers and errors.
        answer = self._client.http.client.request(
            type_=_Answer,
            method="PUT",
            url="/collections/{collection_name}/points",
            path_params={"collection_name": self._name},
            params={"wait": "true"},
            headers={"Content-Type": "application/json", "Content-Length": str(len(body))},
            content=_Pieces(body),
        )
        return answer.result


class _Pieces:
    """A body in pieces: of what the socket does not take at once, the HTTP library copies the rest, again and again."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        yield from (self._body[start : start + PIECE_BYTES] for start in range(0, len(self._body), PIECE_BYTES))
