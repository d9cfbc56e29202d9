"""Ray's blocks as Arrow tables that any reader understands."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pipelines.errors import ConfigError
from pipelines.sources.memory.plain_columns import plain_column


def to_table(block: Any) -> pa.Table:
    """Make a table of a block (a table, a pandas frame): extension types are put into Arrow's own.

    Raises ConfigError for a column of Python objects that have no Arrow type.
    """
    from ray.data.block import BlockAccessor

    table = BlockAccessor.for_block(block).to_arrow()
    columns = [_column(name, column) for name, column in zip(table.column_names, table.columns, strict=True)]
    fields = [pa.field(field.name, column.type) for field, column in zip(table.schema, columns, strict=True)]
    return pa.table(columns, schema=pa.schema(fields, metadata=table.schema.metadata))


def _column(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    plain = plain_column(column)
    if isinstance(plain, list):
        kinds = sorted({type(value).__name__ for value in plain if value is not None})
        raise ConfigError(
            f"column {name!r} holds Python objects ({', '.join(kinds)}) that have no Arrow type in common"
        )
    return plain
