"""Points that are copied with their vectors, from a collection or an export of one, as rows and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from qdrant_client import models

from embedders.base import VectorSpec
from pipelines.identity import content_hash, payload_hash
from pipelines.rows import RowError, spread
from pipelines.sinks.qdrant.config import TEXT_KEY
from pipelines.sinks.qdrant.points import OURS
from pipelines.sinks.qdrant.read_vectors import vector_column
from pipelines.sources.qdrant.rows import is_ours, point_row
from pipelines.sources.records import STAGE
from pipelines.sources.rows import parse_payload
from pipelines.sources.vectors.files import Content


def copied_row(point: Any, content: Content) -> dict[str, Any]:
    """Make a row of a point's id and payload; it needs no text, as nothing is made of it.

    A point of a collection of ours that another job wrote is dead: its vectors may be of another model.
    """
    payload = point.payload or {}
    row = _row(point, payload)
    made = payload[OURS] if is_ours(payload) else {}
    if row["error"] is None and not content.is_foreign and _differs(made, content.provenance):
        why = "the point was not made by the job that its collection tells of"
        row["error"] = RowError(STAGE, "OtherJob", why)
    return row


def vector_columns(points: Sequence[models.Record], content: Content) -> dict[str, pa.Array]:
    """Make a column a vector of points; a vector that is missing is null.

    Where a job of ours made it, a sparse vector that is missing has no terms: Qdrant gives none for a text without.
    """
    named = [named_vectors(point.vector) for point in points]
    empty = None if content.is_foreign else models.SparseVector(indices=[], values=[])
    return {name: _column([one.get(name) for one in named], spec, empty) for name, spec in content.specs.items()}


def named_vectors(vectors: Any) -> Mapping[str, Any]:
    """Give a point's vectors by name; one without a name has the name ""."""
    return vectors if isinstance(vectors, dict) else {} if vectors is None else {"": vectors}


def _column(vectors: Sequence[Any], spec: VectorSpec, empty: models.SparseVector | None) -> pa.Array:
    if spec.kind == "sparse" and empty is not None:
        vectors = [empty if vector is None else vector for vector in vectors]
    there = [row for row, vector in enumerate(vectors) if vector is not None]
    column = vector_column([vectors[row] for row in there], spec)
    return column if len(there) == len(vectors) else spread(column, np.array(there, np.int64), len(vectors))


def _differs(made: dict[str, Any], held: dict[str, Any]) -> bool:
    return made.get("fingerprint") != held["fingerprint"] or made.get("corpus") != held.get("corpus")


def _row(point: Any, payload: dict[str, Any]) -> dict[str, Any]:
    row = point_row(point, TEXT_KEY)
    if row["error"] is not None and row["error"].type == "NoText":
        held = payload[OURS] if is_ours(payload) else {}
        if TEXT_KEY in payload and not held:
            # What is no text stays where it was.
            row["payload"], _ = parse_payload(dict(payload))
        row |= {"error": None, "text_hash": held.get("text_hash"), "payload_hash": payload_hash(row["payload"])}
        row["content_hash"] = held.get("content_hash") or content_hash(None, row["payload"])
    return row
