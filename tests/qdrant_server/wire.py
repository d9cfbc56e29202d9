"""Holds a request to what Qdrant's API takes, beyond what the local engine checks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pydantic
from qdrant_client import models

from tests.qdrant_server.errors import ApiError, format_error, invalid, wrong_input
from tests.qdrant_server.state import CollectionState

U64 = 2**64
U32 = 2**32
# The spellings of Rust's uuid crate: simple, hyphenated, urn.
_UUID = re.compile(r"(urn:uuid:)?[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)

Upsert = models.PointsList | models.PointsBatch


def parse(model: Any, body: Any) -> Any:
    """Read a JSON value as one of the API's models, or raise the 400 of a malformed body."""
    adapter = _adapter(model)
    try:
        return adapter.validate_python(body)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        raise format_error(f"{place}: {first['msg']}") from error


_ADAPTERS: dict[Any, pydantic.TypeAdapter[Any]] = {}


def _adapter(model: Any) -> pydantic.TypeAdapter[Any]:
    if model not in _ADAPTERS:
        _ADAPTERS[model] = pydantic.TypeAdapter(model)
    return _ADAPTERS[model]


def parse_upsert(body: Any) -> Upsert:
    """Read the body of an upsert, in points or batch form, and check ids, lengths and sparse vectors."""
    is_batch = isinstance(body, dict) and "batch" in body
    upsert: Upsert = parse(models.PointsBatch if is_batch else models.PointsList, body)
    check_upsert(upsert)
    return upsert


def check_upsert(upsert: Upsert) -> None:
    """400 for a bad id, 422 for lengths that differ and for sparse vectors Qdrant does not take."""
    if isinstance(upsert, models.PointsList):
        check_ids(point.id for point in upsert.points)
        for place, point in enumerate(upsert.points):
            check_sparse(point.vector, f"points[{place}].vector")
        return
    batch = upsert.batch
    check_ids(batch.ids)
    columns = batch.vectors if isinstance(batch.vectors, dict) else {"": batch.vectors}
    for column in [*columns.values(), *([batch.payloads] if batch.payloads is not None else [])]:
        if len(column) != len(batch.ids):
            raise invalid("batch", f"number of ids and vectors must be equal ({len(batch.ids)} != {len(column)})")
    for name, column in columns.items():
        if column and isinstance(column[0], models.SparseVector):
            for place, vector in enumerate(column):
                check_sparse({name: vector}, f"batch.vectors[{place}]")


def check_ids(ids: Iterable[Any]) -> None:
    """400 for an id that is neither an unsigned 64-bit integer nor a UUID."""
    for value in ids:
        if isinstance(value, int) and 0 <= value < U64:
            continue
        if not isinstance(value, int) and _UUID.fullmatch(str(value)):
            continue
        raise format_error(
            f"value {value} is not a valid point ID, valid values are either an unsigned integer or a UUID"
        )


def check_sparse(vectors: Any, place: str) -> None:
    """400 for indices that do not fit in 32 bits, 422 for repeated ones and for lengths that differ."""
    if not isinstance(vectors, dict):
        return
    for name, vector in vectors.items():
        if not isinstance(vector, models.SparseVector):
            continue
        field, indices = f"{place}.{name}", vector.indices
        if len(indices) != len(vector.values):
            raise invalid(f"{field}.values", "must be the same length as indices")
        if indices and not (min(indices) >= 0 and max(indices) < U32):
            raise format_error(f"{field}.indices: invalid value, expected u32")
        if len(set(indices)) != len(indices):
            raise invalid(f"{field}.indices", "must be unique")


def check_new_vectors(request: models.CreateCollection) -> None:
    """422 for a dimension outside of 1 to 65536."""
    vectors = request.vectors or {}
    named = {"": vectors} if isinstance(vectors, models.VectorParams) else vectors
    for name, params in named.items():
        if not 1 <= params.size <= 65_536:
            raise invalid(f"vectors.{name}.size", f"value {params.size} invalid, must be from 1 to 65536")


def limit_of(request: Any, default: int = 10) -> int:
    """The request's limit or the API's default; 422 below 1."""
    limit = default if request.limit is None else request.limit
    if limit < 1:
        raise invalid("limit", f"value {limit} invalid, must be 1 or larger")
    return int(limit)


def check_query(state: CollectionState, query: Any, using: str | None, prefetch: Any) -> None:
    """400 for a query vector of an unknown name or a wrong dimension, in the query or anywhere below it."""
    vector = query.nearest if isinstance(query, models.NearestQuery) else query
    name = using or ""
    if isinstance(vector, models.SparseVector):
        check_sparse({name: vector}, "query")
        if not state.has_sparse(name):
            raise wrong_input(f"Not existing vector name error: {name}")
    elif isinstance(vector, list):
        _check_dim(state.dim(name), name, vector)
    for below in prefetch if isinstance(prefetch, list) else [prefetch] if prefetch else []:
        check_query(state, below.query, below.using, below.prefetch)


def _check_dim(dim: int | None, name: str, vector: list[Any]) -> None:
    if dim is None:
        raise wrong_input(f"Not existing vector name error: {name}")
    for row in vector if vector and isinstance(vector[0], list) else [vector]:
        if len(row) != dim:
            raise wrong_input(f"Vector dimension error: expected dim: {dim}, got {len(row)}")


def require_index(state: CollectionState, key: str, purpose: str) -> None:
    """400 where Qdrant needs a payload index: facets and ordered scrolling."""
    if key not in state.payload_schema:
        raise ApiError(
            400, f"Bad request: Index required but not found for `{key}`. Please create one to use {purpose}."
        )
