"""Points as columns of a dataset: the id, vectors as Arrow lists, and the payload as JSON or in columns of its keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from embedders.base import VectorSpec
from pipelines.config.shown import shown
from pipelines.errors import SourceError
from pipelines.rows import spread
from pipelines.sinks.qdrant.read_vectors import bytes_of, vector_column
from pipelines.sources.qdrant.copied import named_vectors
from pipelines.sources.qdrant.ids import texts_of
from pipelines.sources.rows import to_json

ID, PAYLOAD = "id", "payload"
# The column of a vector that has no name.
UNNAMED = "vector"


@dataclass(frozen=True)
class PointColumns:
    """Which columns points become: vectors by name, and of the payload those of a schema, or one with all as JSON.

    ``told`` are metadata of the schema.
    """

    vectors: Mapping[str, VectorSpec]
    payload: pa.Schema | None
    with_payload: bool
    told: Mapping[bytes, bytes] = field(default_factory=dict)

    @property
    def schema(self) -> pa.Schema:
        """The columns of each block."""
        fields = [pa.field(ID, pa.string())]
        fields += [pa.field(column_of(name), spec.arrow_type) for name, spec in self.vectors.items()]
        if self.payload is not None:
            fields += list(self.payload)
        elif self.with_payload:
            fields.append(pa.field(PAYLOAD, pa.string()))
        return pa.schema(fields, dict(self.told))

    def table(self, points: Sequence[Any]) -> pa.Table:
        """Make a table of points; raises SourceError for a value of the payload that has not the type of its column."""
        columns: list[Any] = [texts_of([point.id for point in points]) if points else pa.array([], pa.string())]
        named = [named_vectors(point.vector) for point in points]
        for name, spec in self.vectors.items():
            try:
                columns.append(_vectors([one.get(name) for one in named], spec))
            except (pa.ArrowException, TypeError, ValueError, AttributeError) as error:
                raise SourceError(
                    f"the vectors {name!r} are not those that the collection had when the read began ({error}); was it "
                    "made anew meanwhile? Read it again"
                ) from None
        payloads = [point.payload or {} for point in points]
        if self.payload is not None:
            columns += [self._values(points, payloads, field) for field in self.payload]
        elif self.with_payload:
            columns.append(pa.array([to_json(payload) for payload in payloads], pa.string()))
        return pa.table(columns, schema=self.schema)

    def bytes(self, points: Sequence[Any]) -> int:
        """Estimate how large the vectors of points are in an answer."""
        return sum(bytes_of(vector) for point in points for vector in named_vectors(point.vector).values())

    @staticmethod
    def _values(points: Sequence[Any], payloads: Iterable[Mapping[str, Any]], field: pa.Field) -> pa.Array:
        values = [payload.get(field.name) for payload in payloads]
        try:
            return pa.array(values, field.type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            pass
        for point, value in zip(points, values, strict=True):
            try:
                pa.array([value], field.type)
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                raise SourceError(
                    f"point {point.id}: the payload's {field.name!r} is {shown(value)}, and "
                    f"payload_schema says {field.type}; give it another type, or read the payload as JSON"
                ) from None
        raise SourceError(f"the payload's {field.name!r} cannot be put into a column of {field.type}")


def column_of(name: str) -> str:
    """Name the column of a vector."""
    return name or UNNAMED


def _vectors(vectors: Sequence[Any], spec: VectorSpec) -> pa.Array:
    there = [row for row, vector in enumerate(vectors) if vector is not None]
    column = vector_column([vectors[row] for row in there], spec)
    if column.type != spec.arrow_type:
        raise TypeError(f"{column.type}, not {spec.arrow_type}")
    return column if len(there) == len(vectors) else spread(column, np.array(there, np.int64), len(vectors))
