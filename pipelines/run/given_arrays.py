"""One vector of a table of rows as NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embedders.api.sparse_embedding import SparseMatrix
from embedders.arrow import SPARSE_TYPE, matrix_with_nan
from embedders.token_vectors import TokenVectors
from pipelines.run.stages.give import given_schema

ArraysOfVectors: TypeAlias = "npt.NDArray[np.floating] | SparseMatrix | TokenVectors"


def vector_columns(table: pa.Table) -> list[str]:
    """Name the columns of a table of ``given_schema`` that are vectors."""
    others = {field.name for field in given_schema({}, chunked=True)}
    return [name for name in table.column_names if name not in others]


def chosen_name(name: str | None, names: Sequence[str]) -> str:
    """Take the name of a vector, or of the only one; raises ValueError where there is none of that name."""
    if name is None and len(names) == 1:
        return names[0]
    if name is None or name not in names:
        asked = "several vectors are there" if name is None else f"there is no vector {name!r}"
        raise ValueError(f"{asked}: name one of {', '.join(map(repr, names))}")
    return name


def arrays_of(table: pa.Table, name: str) -> ArraysOfVectors:
    """Read a column of vectors; null ones are NaN in a matrix, else empty."""
    column = table[name].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if column.type == SPARSE_TYPE:
        lists = [pc.fill_null(pc.struct_field(column, part), []) for part in ("indices", "values")]
        return SparseMatrix.from_arrow(pa.StructArray.from_arrays(lists, fields=list(SPARSE_TYPE)))
    if pa.types.is_fixed_size_list(column.type):
        return matrix_with_nan(column)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    return TokenVectors(matrix_with_nan(column.flatten()), np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))))
