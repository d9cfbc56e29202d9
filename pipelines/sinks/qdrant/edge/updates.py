"""Operations of a batch of updates, as qdrant-edge has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qdrant_edge as edge
from qdrant_client import models

from pipelines.sinks.qdrant.edge.filters import edge_filter
from pipelines.sinks.qdrant.edge.records import Shapes, checked_payload, edge_points, edge_vectors

_UPDATE = edge.UpdateOperation
_MODES = {
    models.UpdateMode.UPSERT: edge.UpdateMode.Upsert,
    models.UpdateMode.INSERT_ONLY: edge.UpdateMode.InsertOnly,
    models.UpdateMode.UPDATE_ONLY: edge.UpdateMode.UpdateOnly,
}


def update_operations(given: Any, shapes: Shapes) -> list[Any]:
    """Translate one operation; raises ValueError for what a server would refuse, and for kinds not known here."""
    if isinstance(given, models.UpsertOperation):
        some = given.upsert
        points = some.batch if isinstance(some, models.PointsBatch) else some.points
        return [upsert_operation(points, some.update_filter, some.update_mode, shapes)]
    if isinstance(given, models.DeleteOperation):
        chosen = given.delete
        if isinstance(chosen, models.PointIdsList):
            return [_UPDATE.delete_points(list(chosen.points))]
        return [_UPDATE.delete_points_by_filter(edge_filter(chosen.filter))]
    if isinstance(given, models.SetPayloadOperation):
        return [_payload(given.set_payload, _UPDATE.set_payload, _UPDATE.set_payload_by_filter)]
    if isinstance(given, models.OverwritePayloadOperation):
        return [_payload(given.overwrite_payload, _UPDATE.overwrite_payload, _UPDATE.overwrite_payload_by_filter)]
    if isinstance(given, models.UpdateVectorsOperation):
        changed = given.update_vectors
        return [_UPDATE.update_vectors(edge_vectors(changed.points, shapes), edge_filter(changed.update_filter))]
    raise ValueError(f"Wrong operation: {type(given).__name__} is not known to the engine of this folder")


def upsert_operation(
    points: models.Batch | Sequence[models.PointStruct],
    only: models.Filter | None,
    mode: models.UpdateMode | None,
    shapes: Shapes,
) -> Any:
    """Make an upsert; with ``only``, points that are there are replaced where they match that."""
    return _UPDATE.upsert_points(edge_points(points, shapes), edge_filter(only), _MODES[mode] if mode else None)


def payload_change(payload: dict[str, Any], points: Any, key: str | None) -> models.SetPayload:
    """Say which points get a payload, given by ids, a filter, or a selector of either."""
    if isinstance(points, models.FilterSelector):
        points = points.filter
    if isinstance(points, models.Filter):
        return models.SetPayload(payload=payload, filter=points, key=key)
    ids = points.points if isinstance(points, models.PointIdsList) else list(points)
    return models.SetPayload(payload=payload, points=ids, key=key)


def _payload(change: models.SetPayload, by_ids: Any, by_filter: Any) -> Any:
    payload = checked_payload(change.payload)
    if change.points is not None:
        return by_ids(list(change.points), payload, change.key)
    if change.filter is None:
        raise ValueError("Wrong operation: no filter or points provided")
    return by_filter(edge_filter(change.filter), payload, change.key)
