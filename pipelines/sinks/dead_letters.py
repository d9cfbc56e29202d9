"""Rows that could not be embedded or written, kept as Parquet with their text and the reason, but without images."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from pipelines.errors import SinkError
from pipelines.filesystem import open_filesystem, without_credentials, write_file
from pipelines.rows import ERROR_TYPE, is_dead

DEAD_SCHEMA = pa.schema(
    [
        ("document_id", pa.string()),
        ("chunk_no", pa.int32()),
        ("origin", pa.string()),
        ("text", pa.string()),
        ("payload", pa.string()),
        ("error", ERROR_TYPE),
    ]
)


def write_dead(folder: str, run_id: str, table: pa.Table) -> int:
    """Write the rows of ``table`` that have an error to one file in ``folder`` (path or URL); returns how many.

    The file's name comes from the run and the rows, so that the same table written again replaces it. Columns that
    the table does not have (``chunk_no`` of a row that died before chunking) are null. Raises SinkError when the
    folder cannot be written to.
    """
    dead = table.filter(pa.array(is_dead(table)))
    if not dead.num_rows:
        return 0
    columns = [
        dead[field.name].cast(field.type) if field.name in dead.column_names else pa.nulls(dead.num_rows, field.type)
        for field in DEAD_SCHEMA
    ]
    letters = pa.Table.from_arrays(columns, schema=DEAD_SCHEMA)
    names = zip(*(letters[name].to_pylist() for name in ("document_id", "chunk_no", "origin")), strict=True)
    digest = xxhash.xxh3_128_hexdigest("\n".join(sorted(map(repr, names))).encode())
    buffer = pa.BufferOutputStream()
    pq.write_table(letters, buffer, compression="zstd")
    filesystem, path = open_filesystem(folder)
    try:
        write_file(filesystem, f"{path.rstrip('/')}/dead-{run_id}-{digest}.parquet", buffer.getvalue())
    except OSError as error:
        raise SinkError(f"dead letters cannot be written to {without_credentials(folder)}: {error}") from None
    return int(dead.num_rows)
