"""Rows of a dataset as points: an id, vectors, a payload in JSON; or the reason for which a row cannot be one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embedders.base import VectorSpec
from pipelines.errors import ConfigError
from pipelines.ray_data.columns import Columns
from pipelines.ray_data.ids import point_ids
from pipelines.rows import RowError, add_errors, error_array, is_dead
from pipelines.sources.arrow_rows import NO_VALUE, python_rows
from pipelines.sources.json_columns import OddError, json_objects
from pipelines.sources.parts import Column
from pipelines.sources.records import Undecodable
from pipelines.sources.rows import parse_payload
from pipelines.sources.vectors.columns import checked_vectors

STAGE = "write"
# Under which a point whose id was made keeps what it was made of.
DOCUMENT_ID = "document_id"


@dataclass(frozen=True)
class PointRows:
    """Rows as points, which have ``id``, ``payload`` (JSON) and a column a vector by its name; and letters.

    These have of each row what the dead letters keep: ``document_id`` (the id as the dataset has it), ``text`` (the
    column of that name), ``payload`` and ``error``, which is null for a row that can be written.
    """

    points: pa.Table
    letters: pa.Table

    def with_errors(self, errors: dict[int, RowError]) -> PointRows:
        """Give rows an error, by their positions; one that has one keeps its first."""
        return replace(self, letters=add_errors(self.letters, errors))

    def live(self) -> npt.NDArray[np.int64]:
        """Positions of the rows that have no error; those that lack the same vectors stand together."""
        rows = np.flatnonzero(~is_dead(self.letters))
        marks = np.zeros(len(rows), np.int64)
        lacking = (column for column in self.points.columns[2:] if column.null_count)
        for number, column in enumerate(lacking):
            marks += (~column.is_valid().to_numpy()[rows]).astype(np.int64) << number
        return rows[np.argsort(marks, kind="stable")]


def point_rows(table: pa.Table, columns: Columns, specs: Mapping[str, VectorSpec], corpus: str) -> PointRows:
    """Make points of rows; ``specs`` are of vectors by their column.

    A vector that is null, or whose column the block lacks, is left out of its point; a row without any vector is dead.
    """
    ids, made, faults = point_ids(table[columns.id], corpus)
    payloads, payload_errors = _payloads(table, columns, made)
    letters = pa.table(
        {
            "document_id": document_ids(table, columns.id),
            "text": texts_of(table["text"]) if "text" in table.column_names else pa.nulls(table.num_rows, pa.string()),
            "payload": payloads,
            "error": taken_errors(table, columns.error),
        }
    )
    errors = [{row: RowError(STAGE, "InvalidId", why) for row, why in faults.items()}, payload_errors]
    there = np.zeros(table.num_rows, np.bool_)
    vectors = {}
    for column, spec in specs.items():
        name = columns.vectors[column].name
        there_is = column in table.column_names
        array, wrong = (
            _checked(table[column], column, spec) if there_is else (pa.nulls(len(table), spec.arrow_type), {})
        )
        why_not = {row: f"the vector {column!r} cannot be used: {why}" for row, why in wrong.items()}
        errors.append({row: RowError(STAGE, "InvalidVector", why) for row, why in why_not.items()})
        there |= array.is_valid().to_numpy(zero_copy_only=False)
        vectors[column if name is None else name] = array
    errors.append({int(row): RowError(STAGE, "NoVector", "the row has no vector") for row in np.flatnonzero(~there)})
    rows = PointRows(pa.table({"id": ids, "payload": payloads, **vectors}), letters)
    for some in errors:
        rows = rows.with_errors(some)
    return rows


def document_ids(table: pa.Table, id: str | None) -> pa.Array:
    """Name rows for people: by the column ``document_id``, which rows of ``embed`` have, else by their id."""
    there = [texts_of(table[name]) for name in (DOCUMENT_ID, id) if name in table.column_names]
    return pc.coalesce(*there) if there else pa.nulls(table.num_rows, pa.large_string())


def _checked(column: pa.ChunkedArray, name: str, spec: VectorSpec) -> tuple[pa.Array, dict[int, str]]:
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), spec.arrow_type), {}
    try:
        return checked_vectors(column, spec)
    except (pa.ArrowException, TypeError, AttributeError, KeyError, ValueError) as error:
        raise ConfigError(
            f"the column {name!r} is {column.type} in a block, and holds no {spec.kind} vectors: {error}"
        ) from None


def taken_errors(table: pa.Table, column: str | None) -> pa.Array:
    """Take over the errors that rows have already; a null column may have no type."""
    if column is None or column not in table.column_names:
        return error_array([None] * table.num_rows)
    held = table[column].to_pylist()
    return error_array([None if one is None else RowError(*(str(one.get(key) or "") for key in _KEYS)) for one in held])


_KEYS = ("stage", "type", "message")


def _payloads(table: pa.Table, columns: Columns, made: Any) -> tuple[pa.Array, dict[int, RowError]]:
    """Write payloads as JSON objects; returns them and the errors of rows whose payload cannot be written."""
    kept = table.select(columns.kept)
    if columns.spread is None and not made.any():
        try:
            own = {name: Column(kept[name].combine_chunks()) for name in columns.kept}
            return json_objects(own, table.num_rows), {}
        except (*NO_VALUE, OddError, TypeError, RecursionError, AttributeError):
            pass
    names = texts_of(table[columns.id]).to_pylist()
    wholes: list[Any] = [None] * table.num_rows
    if columns.spread is not None:
        wholes = [row[columns.spread] for row in _rows(table.select([columns.spread]))]
    payloads: list[str | None] = []
    errors: dict[int, RowError] = {}
    for row, (values, whole) in enumerate(zip(_rows(kept), wholes, strict=True)):
        try:
            inner = _object(whole)
        except ValueError as wrong:
            errors[row] = RowError(STAGE, "InvalidPayload", f"the column {columns.spread!r} {wrong}"[:500])
            inner = {}
        named = {DOCUMENT_ID: names[row]} if made[row] else {}
        payload, error = parse_payload({**_beside(inner, {**named, **values}), **named, **values})
        if error is not None:
            errors.setdefault(row, RowError(STAGE, error.type, error.message))
        payloads.append(payload)
    return pa.array(payloads, pa.large_string()), errors


def _beside(inner: dict[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Put what of a whole payload has the name of another key into an object ``payload``, as a job does."""
    clashing = inner.keys() & others.keys()
    if not clashing:
        return inner
    moved = {key: value for key, value in inner.items() if key in clashing or key == "payload"}
    return {**{key: value for key, value in inner.items() if key not in moved}, "payload": moved}


def _object(whole: Any) -> dict[str, Any]:
    """Read a payload that is a struct or JSON; raises ValueError where it is no object."""
    if isinstance(whole, str):
        try:
            whole = json.loads(whole) if whole else None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"is no JSON: {error}") from None
    if whole is None:
        return {}
    if isinstance(whole, Undecodable):
        raise ValueError(f"cannot be read: {whole.reason}")
    if not isinstance(whole, dict):
        raise ValueError(f"is a JSON {type(whole).__name__}, and no object")
    return whole


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    return [row for batch in table.to_batches() for row in python_rows(batch)]


def texts_of(column: pa.ChunkedArray) -> pa.Array:
    """Write the values of a column as texts, for people to find a row by."""
    try:
        if pa.types.is_binary(column.type) or pa.types.is_fixed_size_binary(column.type):
            raise pa.ArrowInvalid
        return pc.cast(column.combine_chunks(), pa.large_string())
    except pa.ArrowException:
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.large_string())
