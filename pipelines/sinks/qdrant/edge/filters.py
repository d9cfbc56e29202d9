"""Qdrant's filters as qdrant-edge has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import numpy as np
import qdrant_edge as edge
from qdrant_client import models


def edge_filter(chosen: models.Filter | None) -> Any:
    """Translate a filter; raises ValueError for a condition that the engine does not know."""
    if chosen is None:
        return None
    least = chosen.min_should
    return edge.Filter(
        must=_conditions(chosen.must),
        should=_conditions(chosen.should),
        must_not=_conditions(chosen.must_not),
        min_should=None
        if least is None
        else edge.MinShould(_conditions(least.conditions) or [], min_count=least.min_count),
    )


def _conditions(given: Any) -> list[Any] | None:
    if given is None:
        return None
    return [_translated(one, _CONDITIONS) for one in (given if isinstance(given, list) else [given])]


def _translated(given: Any, known: Mapping[type[Any], Callable[[Any], Any]]) -> Any:
    made = known.get(type(given))
    if made is None:
        raise ValueError(f"Wrong filter: {type(given).__name__} is not known to the engine of this folder")
    return made(given)


def _field(given: models.FieldCondition) -> Any:
    return edge.FieldCondition(
        given.key,
        match=None if given.match is None else _translated(given.match, _MATCHES),
        range=None if given.range is None else _range(given.range),
        geo_bounding_box=None if given.geo_bounding_box is None else _box(given.geo_bounding_box),
        geo_radius=None
        if given.geo_radius is None
        else edge.GeoRadius(_point(given.geo_radius.center), given.geo_radius.radius),
        geo_polygon=None if given.geo_polygon is None else _polygon(given.geo_polygon),
        values_count=None if given.values_count is None else edge.ValuesCount(**given.values_count.model_dump()),
        is_empty=given.is_empty,
        is_null=given.is_null,
    )


def _value(given: models.MatchValue) -> Any:
    # The engine takes Python's booleans for numbers, and NumPy's for what they are.
    value: Any = np.bool_(given.value) if isinstance(given.value, bool) else given.value
    return edge.MatchValue(value)


def _range(given: models.Range | models.DatetimeRange) -> Any:
    bounds = {name: getattr(given, name) for name in ("gt", "gte", "lt", "lte")}
    if isinstance(given, models.Range):
        return edge.RangeFloat(**bounds)
    return edge.RangeDateTime(
        **{name: bound.isoformat() if isinstance(bound, date) else bound for name, bound in bounds.items()}
    )


def _point(given: models.GeoPoint) -> Any:
    return edge.GeoPoint(lon=given.lon, lat=given.lat)


def _box(given: models.GeoBoundingBox) -> Any:
    return edge.GeoBoundingBox(_point(given.top_left), _point(given.bottom_right))


def _polygon(given: models.GeoPolygon) -> Any:
    rings = [[_point(point) for point in ring.points] for ring in (given.exterior, *(given.interiors or []))]
    return edge.GeoPolygon(rings[0], rings[1:] or None)


_CONDITIONS: Mapping[type[Any], Callable[[Any], Any]] = {
    models.FieldCondition: _field,
    models.Filter: edge_filter,
    models.IsEmptyCondition: lambda given: edge.IsEmptyCondition(given.is_empty.key),
    models.IsNullCondition: lambda given: edge.IsNullCondition(given.is_null.key),
    models.HasIdCondition: lambda given: edge.HasIdCondition(set(given.has_id)),
    models.HasVectorCondition: lambda given: edge.HasVectorCondition(given.has_vector),
    models.NestedCondition: lambda given: edge.NestedCondition(given.nested.key, edge_filter(given.nested.filter)),
}
_MATCHES: Mapping[type[Any], Callable[[Any], Any]] = {
    models.MatchValue: _value,
    models.MatchText: lambda given: edge.MatchText(given.text),
    models.MatchTextAny: lambda given: edge.MatchTextAny(given.text_any),
    models.MatchPhrase: lambda given: edge.MatchPhrase(given.phrase),
    models.MatchPrefix: lambda given: edge.MatchPrefix(given.prefix),
    models.MatchSubstring: lambda given: edge.MatchSubstring(given.substring),
    models.MatchAny: lambda given: edge.MatchAny(list(given.any)),
    models.MatchExcept: lambda given: edge.MatchExcept(list(given.except_)),
}
