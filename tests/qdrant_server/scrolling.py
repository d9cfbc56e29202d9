"""Pages by id, without the local engine's way of sorting and filtering all points for each of them."""

from __future__ import annotations

import bisect
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any

from qdrant_client import models
from qdrant_client.local.local_collection import LocalCollection, normalize_point_id
from qdrant_client.local.payload_filters import check_filter, validate_filter


@dataclass
class IdOrder:
    """A collection's ids in Qdrant's order: integers by value, then UUIDs by theirs."""

    keys: list[tuple[str, int]] = field(default_factory=list)

    def of(self, local: LocalCollection) -> list[tuple[str, int]]:
        """The sorted ids, as keys that compare; the engine only ever adds ids."""
        if len(self.keys) != len(local.ids):
            self.keys = sorted(map(local._universal_id, local.ids))
        return self.keys


def page(
    local: LocalCollection, order: IdOrder, hidden: Set[Any], request: models.ScrollRequest, limit: int, payload: Any
) -> tuple[list[models.Record], Any]:
    """Up to ``limit`` points from the offset on, whether or not it exists, and the id after them."""
    validate_filter(request.filter)
    keys = order.of(local)
    start = 0
    if request.offset is not None:
        start = bisect.bisect_left(keys, local._universal_id(normalize_point_id(request.offset)))
    found: list[models.Record] = []
    for text, number in keys[start:] if start else keys:
        point = text or number
        place = local.ids[point]
        if local.deleted[place] or point in hidden or not _matches(local, request.filter, place, point):
            continue
        if len(found) == limit:
            return found, point
        found.append(
            models.Record(
                id=point,
                payload=local._get_payload(place, payload, False),
                vector=local._get_vectors(place, request.with_vector or False),
            )
        )
    return found, None


def _matches(local: LocalCollection, condition: models.Filter | None, place: int, point: Any) -> bool:
    if condition is None:
        return True
    return bool(check_filter(condition, local.payload[place], point, local._calculate_has_vector(place)))
