"""Which columns of a dataset are what of a point: its id, its vectors, its payload, the error that makes a row dead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from embedders.arrow import SPARSE_TYPE, dense_type, multivector_type, number_type
from embedders.base import VectorSpec
from pipelines.config.section import Section, make_section
from pipelines.config.shown import shown
from pipelines.errors import ConfigError
from pipelines.rows import ERROR_TYPE
from pipelines.sinks.told import told_vectors
from pipelines.sources.arrow_rows import name_that_stands_twice
from pipelines.sources.memory.plain_columns import plain_type

Kind: TypeAlias = Literal["dense", "sparse", "multivector"]
Distance: TypeAlias = Literal["cosine", "dot", "euclid", "manhattan"]
# Columns by these names have a meaning, unless another is told.
PAYLOAD, ERROR = "payload", "error"


class VectorColumn(Section):
    """How a column of vectors is stored."""

    name: str | None = Field(None, description="The vector's name in the collection; the column's, when left out")
    kind: Kind | None = Field(None, description="Told by the column's type, when left out")
    size: int | None = Field(None, ge=1, le=65_536, description="Numbers of a vector; told by the data, when left out")
    distance: Distance | None = Field(None, description="The collection's own; of a new one cosine, when left out")
    idf: bool | None = Field(None, description="Of sparse vectors: let the server weigh terms by how rare they are")
    dtype: Literal["float32", "float16"] | None = Field(None, description="Numbers as a new collection stores them")


Vectors: TypeAlias = str | Sequence[str] | Mapping[str, "str | VectorColumn | Mapping[str, Any]"]


@dataclass(frozen=True)
class Columns:
    """The columns of a dataset by their meaning.

    ``vectors`` are by column. ``kept`` are those that are keys of the payload, ``spread`` the one that is a whole
    payload, ``error`` that of a row's error; both None where there is none.
    """

    id: str
    vectors: Mapping[str, VectorColumn]
    kinds: Mapping[str, Kind]
    kept: tuple[str, ...]
    spread: str | None
    error: str | None


def given_vectors(vectors: Vectors | None) -> dict[str, VectorColumn] | None:
    """Read the argument ``vectors``: a column, columns, or what each is to be stored as; None where it is left out."""
    if vectors is None:
        return None
    if isinstance(vectors, str):
        vectors = [vectors]
    refuse_no_names(vectors, "vectors")
    if not isinstance(vectors, Mapping):
        return {column: VectorColumn() for column in vectors}
    read = {}
    for column, told in vectors.items():
        if isinstance(told, str):
            told = {"name": told}
        if not isinstance(told, VectorColumn | Mapping):
            raise ConfigError(f"vectors[{column!r}]: give the vector's name, or a dict of keys, not {shown(told)}")
        read[column] = (
            told if isinstance(told, VectorColumn) else make_section(VectorColumn, dict(told), f"vectors[{column!r}]")
        )
    return read


def find_columns(
    schema: pa.Schema, id: str, vectors: Mapping[str, VectorColumn] | None, payload: str | Sequence[str] | None
) -> Columns:
    """Find the columns of a dataset with this schema.

    Raises ConfigError, with the columns that there are, for one that is missing or of a type that does not fit.
    """
    names = schema.names
    # Arrow finds no column by a name that two have.
    _refuse_twice(names)
    refuse_missing(names, id, "id")
    found = kinds_of(schema) if vectors is None else {}
    found.pop(id, None)
    if vectors is not None:
        for column, told in vectors.items():
            refuse_missing(names, column, "vectors")
            found[column] = _kind(schema.field(column), told)
    if not found:
        raise ConfigError(
            f"no column holds vectors (lists of floats, or indices and values); there are {_shown(schema)}"
        )
    told_by_column = {column: (vectors or {}).get(column, VectorColumn()) for column in found}
    return of_block(Columns(id, told_by_column, found, (), None, None), schema, payload)


def of_block(columns: Columns, schema: pa.Schema, payload: str | Sequence[str] | None) -> Columns:
    """Find what a block has beside the id and the vectors, which are those of the dataset; others may lack some of it.

    Raises ConfigError as ``find_columns`` does.
    """
    names = schema.names
    _refuse_twice(names)
    refuse_missing(names, columns.id, "id")
    is_error = ERROR in names and is_of_errors(schema.field(ERROR).type)
    error = ERROR if is_error else None
    others = [name for name in names if name not in columns.vectors and name not in (columns.id, error)]
    kept = _kept(names, others, payload)
    spread = payload if isinstance(payload, str) else PAYLOAD if PAYLOAD in kept else None
    if spread is not None and not _may_be_payload(schema.field(spread).type):
        if isinstance(payload, str):
            raise ConfigError(
                f"payload: the column {payload!r} is {schema.field(payload).type}; it must hold JSON objects as text, "
                f"or structs. To keep it as one key of the payload, write payload=[{payload!r}]"
            )
        spread = None
    return replace(columns, kept=tuple(name for name in kept if name != spread), spread=spread, error=error)


def kinds_of(schema: pa.Schema) -> dict[str, Kind]:
    """Tell the kind of vectors of those columns that look like vectors: lists of floats, or indices and values."""
    kinds = {}
    for field in schema:
        kind = _kind_of(plain_type(field.type), pa.types.is_floating)
        if kind is not None:
            kinds[field.name] = kind
    return kinds


def specs_of(
    columns: Columns, schema: pa.Schema, stored: Mapping[str, VectorSpec], table: pa.Table | None = None
) -> dict[str, VectorSpec] | None:
    """Tell how each column's vectors are stored, by column; ``stored`` are a collection's vectors by name.

    What is not told is as it is stored, else as the schema tells of what made the vectors, else as the type says, else
    as most of the ``table``'s rows have it. None where a vector's size cannot be told without a table.
    """
    specs, made = {}, told_vectors(schema)
    for column, told in columns.vectors.items():
        there = stored.get(column if told.name is None else told.name)
        kind = columns.kinds[column]
        if there is not None and there.kind != kind:
            there = None
        maker = made.get(column, {}) if made.get(column, {}).get("kind") == kind else {}
        of_maker: Distance = maker["distance"] if maker.get("distance") in get_args(Distance) else "cosine"
        distance: Distance = told.distance or (there.distance if there else of_maker)
        if kind == "sparse":
            idf = told.idf if told.idf is not None else bool(there.idf if there else maker.get("idf"))
            specs[column] = VectorSpec("sparse", SPARSE_TYPE, distance="dot", idf=idf)
            continue
        # A block may lack the column.
        read = plain_type(schema.field(column).type) if column in schema.names else pa.null()
        size = told.size or _size_of(read) or (there.dim if there else None) or _usual_size(table, column, kind)
        if size is None:
            return None
        if there is not None and told.dtype is None and there.dim == size:
            arrow_type = there.arrow_type
        else:
            half = told.dtype == "float16" or (told.dtype is None and read is not None and _is_half(read))
            make = dense_type if kind == "dense" else multivector_type
            arrow_type = make(size, np.float16 if half else np.float32)
        specs[column] = VectorSpec(kind, arrow_type, size, distance)
    return specs


def size_of_rows(column: pa.ChunkedArray, kind: Kind) -> int | None:
    """Tell how many numbers most of the vectors of a column have; None where it has no vector."""
    for chunk in column.chunks:
        lists = chunk if kind == "dense" else chunk.flatten()
        if not hasattr(lists.type, "value_type"):
            return None
        if pa.types.is_fixed_size_list(lists.type):
            return int(lists.type.list_size)
        lengths = pc.list_value_length(lists.drop_null())
        usual = pc.mode(lengths.filter(pc.greater(lengths, 0)))
        if len(usual):
            return int(usual[0]["mode"].as_py())
    return None


def _usual_size(table: pa.Table | None, column: str, kind: Kind) -> int | None:
    return None if table is None or column not in table.column_names else size_of_rows(table[column], kind)


def _kept(names: Sequence[str], others: Sequence[str], payload: str | Sequence[str] | None) -> list[str]:
    if payload is None:
        return list(others)
    wanted = [payload] if isinstance(payload, str) else list(payload)
    for name in wanted:
        refuse_missing(names, name, "payload")
    return wanted


def _kind(field: pa.Field, told: VectorColumn) -> Kind:
    read = plain_type(field.type)
    kind = _kind_of(read, lambda one: pa.types.is_floating(one) or pa.types.is_integer(one))
    if kind is None and (read is None or pa.types.is_null(read)):
        kind = told.kind or "dense"
    if kind is None or (told.kind is not None and told.kind != kind):
        raise ConfigError(
            f"vectors: the column {field.name!r} is {field.type}, which are no {told.kind or 'such'} vectors: dense "
            "ones are lists of numbers, multivectors lists of such lists, sparse ones structs of indices and values"
        )
    return kind


def _kind_of(kind: pa.DataType | None, is_number: Any) -> Kind | None:
    if kind is None:
        return None
    if pa.types.is_struct(kind):
        fields = {field.name: field.type for field in kind}
        is_sparse = set(fields) == {"indices", "values"} and all(_is_list(one) for one in fields.values())
        return "sparse" if is_sparse else None
    depth = 0
    while _is_list(kind):
        kind, depth = kind.value_type, depth + 1
    return (None, "dense", "multivector")[depth] if depth < 3 and is_number(kind) else None


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _size_of(kind: pa.DataType | None) -> int | None:
    size = None
    while kind is not None and _is_list(kind):
        size = int(kind.list_size) if pa.types.is_fixed_size_list(kind) else None
        kind = kind.value_type
    return size


def _is_half(kind: pa.DataType) -> bool:
    return bool(number_type(kind) == pa.float16())


def is_of_errors(kind: pa.DataType) -> bool:
    """Tell whether a column is that of rows' errors: structs of stage, type and message, or nothing but nulls."""
    if not pa.types.is_struct(kind):
        return bool(pa.types.is_null(kind))
    return {field.name for field in kind} == {field.name for field in ERROR_TYPE}


def _may_be_payload(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_struct(kind) or types.is_null(kind))


def refuse_missing(names: Sequence[str], name: str, argument: str) -> None:
    """Raise ConfigError where there is no column of a name that an argument tells."""
    if name not in names:
        near = get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]!r}? It has" if near else "it has"
        raise ConfigError(f"{argument}: the dataset has no column {name!r}; {hint} {', '.join(names) or 'none'}")


def _refuse_twice(names: Sequence[str]) -> None:
    if (twice := name_that_stands_twice(names)) is not None:
        raise ConfigError(f"the dataset has two columns {twice!r}; rename one of them")


def refuse_no_names(names: Any, argument: str) -> None:
    """Raise ConfigError where an argument is no list of names, nor a dict by name."""
    if not isinstance(names, Sequence | Mapping | Set) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{argument}: give the names of columns, not {shown(names)}")


def _shown(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
