"""Which function answers which request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import unquote

from qdrant_client import models

from tests.qdrant_server import aliases_api as aliases
from tests.qdrant_server import collections_api as collections
from tests.qdrant_server import points_api as points
from tests.qdrant_server import shards_api as shards
from tests.qdrant_server import snapshots_api as snapshots
from tests.qdrant_server import vectors_api as vectors
from tests.qdrant_server import wire
from tests.qdrant_server.engine import Call
from tests.qdrant_server.errors import ApiError, format_error


@dataclass(frozen=True)
class Route:
    """An endpoint: what answers it, how its body is read (None: it has none), and whether it changes anything."""

    answer: Callable[[Call], Any]
    read_body: Callable[[Any], Any] | None = None
    writes: bool = False


def _read(answer: Callable[[Call], Any], model: Any = None) -> Route:
    return Route(answer, None if model is None else partial(wire.parse, model))


def _write(answer: Callable[[Call], Any], model: Any = None) -> Route:
    return Route(answer, None if model is None else partial(wire.parse, model), writes=True)


# Keys are the method and the path, with the names of the collection and of what is in it left out.
ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/collections"): _read(collections.list_collections),
    ("GET", "/aliases"): _read(aliases.list_all),
    ("POST", "/collections/aliases"): _write(aliases.change, models.ChangeAliasesOperation),
    ("GET", "/collections/*"): _read(collections.info),
    ("PUT", "/collections/*"): _write(collections.create, models.CreateCollection),
    ("PATCH", "/collections/*"): _write(collections.update, models.UpdateCollection),
    ("DELETE", "/collections/*"): _write(collections.delete),
    ("GET", "/collections/*/exists"): _read(collections.exists),
    ("GET", "/collections/*/optimizations"): _read(collections.optimizations),
    ("GET", "/collections/*/aliases"): _read(aliases.list_of_collection),
    ("PUT", "/collections/*/index"): _write(collections.create_index, models.CreateFieldIndex),
    ("DELETE", "/collections/*/index/*"): _write(collections.delete_index),
    ("PUT", "/collections/*/vectors/*"): _write(vectors.create, models.VectorNameConfig),
    ("DELETE", "/collections/*/vectors/*"): _write(vectors.delete),
    ("GET", "/collections/*/shards"): _read(shards.list_all),
    ("PUT", "/collections/*/shards"): _write(shards.create, models.CreateShardingKey),
    ("GET", "/collections/*/snapshots"): _read(snapshots.list_all),
    ("POST", "/collections/*/snapshots"): _write(snapshots.create),
    ("DELETE", "/collections/*/snapshots/*"): _write(snapshots.delete),
    ("PUT", "/collections/*/points"): Route(points.upsert, wire.parse_upsert, writes=True),
    ("POST", "/collections/*/points"): _read(points.retrieve, models.PointRequest),
    ("POST", "/collections/*/points/delete"): _write(points.delete, models.PointsSelector),
    ("POST", "/collections/*/points/batch"): _write(points.batch_update, models.UpdateOperations),
    ("PUT", "/collections/*/points/vectors"): _write(points.update_vectors, models.UpdateVectors),
    ("POST", "/collections/*/points/vectors/delete"): _write(points.delete_vectors, models.DeleteVectors),
    ("POST", "/collections/*/points/payload"): _write(points.set_payload, models.SetPayload),
    ("PUT", "/collections/*/points/payload"): _write(points.overwrite_payload, models.SetPayload),
    ("POST", "/collections/*/points/payload/delete"): _write(points.delete_payload, models.DeletePayload),
    ("POST", "/collections/*/points/payload/clear"): _write(points.clear_payload, models.PointsSelector),
    ("POST", "/collections/*/points/scroll"): _read(points.scroll, models.ScrollRequest),
    ("POST", "/collections/*/points/count"): _read(points.count, models.CountRequest),
    ("POST", "/collections/*/points/query"): _read(points.query, models.QueryRequest),
    ("POST", "/collections/*/points/query/batch"): _read(points.query_batch, models.QueryRequestBatch),
    ("POST", "/collections/*/facet"): _read(points.facet, models.FacetRequest),
}


def find(method: str, path: str) -> tuple[Route, str, str]:
    """The route of a request, the collection's name and the last part of the path; 404 for what is not served."""
    steps = [unquote(step) for step in path.split("/")[1:]]
    name = steps[1] if len(steps) > 1 else ""
    literal = ROUTES.get((method, path))
    if literal is not None:
        return literal, name, ""
    if len(steps) > 1:
        steps[1] = "*"
    tail = ""
    if len(steps) == 4 and steps[2] in ("index", "vectors", "snapshots"):
        tail, steps[3] = steps[3], "*"
    route = ROUTES.get((method, "/" + "/".join(steps)))
    if route is None:
        raise ApiError(404, f"Not found: the test server does not serve {method} {path}")
    return route, name, tail


def read_body(route: Route, body: Any) -> Any:
    """The body as the route takes it; 400 where it is missing or malformed."""
    if route.read_body is None:
        return None
    if body is None:
        raise format_error("EOF while parsing a value at line 1 column 0")
    return route.read_body(body)
