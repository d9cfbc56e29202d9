"""Points between qdrant-client's models and qdrant-edge, whose engine checks less than a server does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from typing import Any
from uuid import UUID

import numpy as np
import qdrant_edge as edge
from qdrant_client import models

# The engine keeps a payload that is nested deeper than 126, and cannot read it again. gRPC takes 100.
DEEPEST = 100
# What vectors must be, by name: how many numbers they have, None for a sparse one, and whether they are multivectors.
Shapes = Mapping[str, tuple[int | None, bool]]


def edge_points(points: models.Batch | Sequence[models.PointStruct], shapes: Shapes) -> list[Any]:
    """Make the engine's points; raises ValueError for what a server would refuse."""
    if not isinstance(points, models.Batch):
        return [_edge_point(point.id, point.vector, point.payload, shapes) for point in points]
    columns = points.vectors
    payloads: Sequence[Any] = points.payloads or [None] * len(points.ids)
    rows: Iterable[Any]
    if isinstance(columns, Mapping):
        names = list(columns)
        rows = (
            ({name: columns[name][row] for name in names} for row in range(len(points.ids)))
            if names
            else ({} for _ in points.ids)
        )
    else:
        rows = columns
    return [
        _edge_point(name, vector, payload, shapes)
        for name, vector, payload in zip(points.ids, rows, payloads, strict=True)
    ]


def edge_vectors(points: Sequence[models.PointVectors], shapes: Shapes) -> list[Any]:
    """Make the engine's points of vectors alone; raises ValueError for what a server would refuse."""
    return [edge.PointVectors(point.id, checked_vectors(point.vector, shapes)) for point in points]


def _edge_point(name: Any, vector: Any, payload: Mapping[str, Any] | None, shapes: Shapes) -> Any:
    return edge.Point(name, checked_vectors(vector, shapes), None if payload is None else checked_payload(payload))


def checked_vectors(vector: Any, shapes: Shapes) -> dict[str, Any]:
    """Check a point's vectors, by name or the one without a name; the engine would panic, or keep what is no vector."""
    named = vector if isinstance(vector, Mapping) else {"": vector}
    return {name: _checked(name, one, shapes) for name, one in named.items()}


def _checked(name: str, vector: Any, shapes: Shapes) -> Any:
    if name not in shapes:
        raise ValueError(f"Not existing vector name error: {name}")
    size, multi = shapes[name]
    if isinstance(vector, np.ndarray):
        vector = vector.tolist()
    if size is None:
        return edge_sparse(vector)
    rows = vector if multi else [vector]
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list | np.ndarray) for row in rows):
        raise ValueError(f"Wrong vector {name!r}: it must have {size} numbers" + (" a token" if multi else ""))
    for row in rows:
        if len(row) != size:
            raise ValueError(f"Vector dimension error: expected dim: {size}, got {len(row)} for vector {name!r}")
        # The sum alone is quick; infinities of both signs make it NaN too.
        if isnan(sum(row)) and any(map(isnan, row)):
            raise ValueError(f"Vector {name!r} contains NaN values")
    return vector


def edge_sparse(vector: Any) -> Any:
    """Make the engine's sparse vector, in the order of its indices, which must be unique."""
    if not isinstance(vector, models.SparseVector):
        raise ValueError("Wrong usage of sparse vectors")
    indices, values = list(vector.indices), list(vector.values)
    if len(indices) != len(values):
        raise ValueError("Indices and values must have the same length")
    if len(set(indices)) != len(indices):
        raise ValueError("Indices must be unique")
    if any(map(isnan, values)):
        raise ValueError("Values must not contain NaN")
    if indices and not 0 <= min(indices) <= max(indices) < 2**32:
        raise ValueError("Indices must be between 0 and 4294967295")
    order = sorted(range(len(indices)), key=indices.__getitem__)
    return edge.SparseVector([indices[at] for at in order], [values[at] for at in order])


def checked_payload(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Raise ValueError for a payload that the engine would keep and could not read again."""
    if any(type(value) in (dict, list) and _deep(value, DEEPEST - 1) for value in payload.values()):
        raise ValueError(f"Wrong payload: it is nested deeper than {DEEPEST}")
    return dict(payload)


def _deep(value: Any, left: int) -> bool:
    inner = value.values() if type(value) is dict else value
    return left <= 0 or any(type(one) in (dict, list) and _deep(one, left - 1) for one in inner)


def record(found: Any) -> models.Record:
    """Make the client's record of the engine's."""
    return models.Record.model_construct(
        id=client_id(found.id), payload=found.payload, vector=_client_vectors(found.vector), order_value=None
    )


def scored(found: Any) -> models.ScoredPoint:
    """Make the client's scored point of the engine's."""
    return models.ScoredPoint.model_construct(
        id=client_id(found.id),
        version=found.version,
        score=found.score,
        payload=found.payload,
        vector=_client_vectors(found.vector),
    )


def client_id(name: int | UUID | str) -> int | str:
    """Write an id as the client has it."""
    return name if isinstance(name, int) else str(name)


def _client_vectors(vectors: Any) -> Any:
    if not isinstance(vectors, Mapping):
        return vectors
    return {name: _client_vector(vector) for name, vector in vectors.items()}


def _client_vector(vector: Any) -> Any:
    if isinstance(vector, edge.SparseVector):
        return models.SparseVector.model_construct(indices=list(vector.indices), values=list(vector.values))
    return vector
