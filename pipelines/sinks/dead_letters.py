"""Rows that could not be embedded or written, kept as Parquet with their text and the reason, but without images."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from pipelines.bisection import bisect_rows
from pipelines.errors import SinkError
from pipelines.filesystem import open_filesystem, write_file
from pipelines.rows import ERROR_TYPE, RowError, error_array, is_dead, set_column
from pipelines.urls import without_credentials

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
    """Write the rows of ``table`` that have an error to files in ``folder`` (path or URL), one as a rule.

    Returns how many rows. A file's name comes from the run and the rows, so that the same table written again replaces
    it. Columns that the table does not have (``chunk_no`` of a row that died before chunking) are null. A row that
    Parquet does not take is kept without its text and payload, and its error says so. Raises SinkError when the folder
    cannot be written to.
    """
    dead = table.filter(pa.array(is_dead(table)))
    if not dead.num_rows:
        return 0
    done, failed = bisect_rows(lambda rows: _encode(dead.slice(rows.start, len(rows))), range(dead.num_rows))
    shortened = [_encode(_without_content(dead.slice(row, 1), error)) for row, error in failed.items()]
    filesystem, path = open_filesystem(folder)
    try:
        for digest, data in [*(file for _, file in done), *shortened]:
            write_file(filesystem, f"{path.rstrip('/')}/dead-{run_id}-{digest}.parquet", data)
    # Libraries of object stores raise errors of their own.
    except Exception as error:
        raise SinkError(f"dead letters cannot be written to {without_credentials(folder)}: {error}") from None
    return int(dead.num_rows)


def _encode(dead: pa.Table) -> tuple[str, pa.Buffer]:
    """Make a whole file of some rows, and a digest that names it."""
    columns = [
        dead[field.name].cast(field.type) if field.name in dead.column_names else pa.nulls(dead.num_rows, field.type)
        for field in DEAD_SCHEMA
    ]
    letters = pa.Table.from_arrays(columns, schema=DEAD_SCHEMA)
    names = zip(*(letters[name].to_pylist() for name in ("document_id", "chunk_no", "origin")), strict=True)
    digest = xxhash.xxh3_128_hexdigest("\n".join(sorted(map(repr, names))).encode())
    buffer = pa.BufferOutputStream()
    pq.write_table(letters, buffer, compression="zstd")
    return digest, buffer.getvalue()


def _without_content(row: pa.Table, why: BaseException) -> pa.Table:
    """Leave out one row's text and payload, and say so in its error."""
    kept = row.select([name for name in row.column_names if name not in ("text", "payload")])
    error = row["error"][0].as_py()
    message = f"{error['message']} (kept without text and payload: {RowError.of('', why).message})"
    return set_column(kept, "error", error_array([RowError(error["stage"], error["type"], message)]))
