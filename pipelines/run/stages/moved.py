"""Rows whose text a sink holds under another id: they take its vectors along from where they are read.

The vectors are fetched when a sink is asked, since a row that is written later may replace the point that has them.
They travel in one column, a list with one entry for a row that has vectors and none for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embedders.arrow import SPARSE_TYPE, number_type
from embedders.base import VectorSpec
from pipelines.bisection import bisect_rows
from pipelines.rows import set_column
from pipelines.run.packing import BLOCK_BYTES
from pipelines.sinks.base import SinkWriter

MOVED_COLUMN = "_moved"
# For granted where a row's vectors were not seen yet: vectors of a multivector, and terms of a sparse vector.
TOKENS_A_ROW, TERMS_A_ROW = 256, 256


def _usual_bytes(spec: VectorSpec) -> int:
    """Estimate the bytes of a row's vector."""
    if spec.arrow_type == SPARSE_TYPE:
        return 8 * TERMS_A_ROW
    numbers = (spec.dim or 0) * (TOKENS_A_ROW if spec.kind == "multivector" else 1)
    return numbers * int(number_type(spec.arrow_type).bit_width) // 8


def rows_at_once(vectors: Mapping[str, VectorSpec]) -> int:
    """Say how many rows may have their vectors fetched together."""
    return max(1, BLOCK_BYTES // max(1, sum(map(_usual_bytes, vectors.values()))))


def find_moved(
    rows: pa.Table, writers: Sequence[SinkWriter], vectors: Mapping[str, VectorSpec]
) -> tuple[npt.NDArray[np.int64], pa.Table]:
    """Fetch the vectors of rows (``id`` and HASHES) from the first writer that has them of the text.

    Returns the positions of the rows that have some, ascending, and a table with a column a vector for them. Rows that
    a sink fails at it has none of.
    """
    left = np.arange(rows.num_rows)
    at = [np.empty(0, np.int64)]
    parts = [pa.schema([(name, spec.arrow_type) for name, spec in vectors.items()]).empty_table()]
    for writer in writers:
        asked = rows.take(left)
        done, _ = bisect_rows(_asking(writer, asked), range(asked.num_rows))
        filled = [np.empty(0, np.int64)]
        for some, answer in done:
            there = answer.column(0).is_valid().to_numpy()
            parts.append(answer.filter(pa.array(there)))
            filled.append(left[some.start : some.stop][there])
        at += filled
        left = np.setdiff1d(left, np.concatenate(filled))
    positions = np.concatenate(at)
    order = np.argsort(positions)
    return positions[order], pa.concat_tables(parts).take(pa.array(order))


def with_moved(table: pa.Table, at: npt.NDArray[np.int64], vectors: pa.Table) -> pa.Table:
    """Add the column of vectors that travel with the rows at these ascending positions."""
    columns = [column.combine_chunks() for column in vectors.columns]
    entries = pa.StructArray.from_arrays(columns, fields=list(vectors.schema))
    there = np.zeros(table.num_rows, np.int64)
    there[at] = 1
    offsets = pa.array(np.concatenate([[0], np.cumsum(there)]), pa.int64())
    return set_column(table, MOVED_COLUMN, pa.LargeListArray.from_arrays(offsets, entries))


def brings_vectors(table: pa.Table) -> npt.NDArray[np.bool_]:
    """Mark the rows with which vectors travel."""
    if MOVED_COLUMN not in table.column_names:
        return np.zeros(table.num_rows, np.bool_)
    marks: npt.NDArray[np.bool_] = pc.list_value_length(table[MOVED_COLUMN]).to_numpy() > 0
    return marks


def without_moved(table: pa.Table) -> tuple[pa.Table, pa.Table | None]:
    """Drop the column of vectors that travel with rows; returns these, too, as a table with a column a vector."""
    if MOVED_COLUMN not in table.column_names:
        return table, None
    entries = table[MOVED_COLUMN].combine_chunks().flatten()
    names = [field.name for field in entries.type]
    moved = pa.table({name: pc.struct_field(entries, [number]) for number, name in enumerate(names)})
    return table.drop_columns([MOVED_COLUMN]), moved


def _asking(writer: SinkWriter, rows: pa.Table) -> Callable[[range], pa.Table]:
    return lambda some: writer.vectors_of_texts(rows.slice(some.start, len(some)))
