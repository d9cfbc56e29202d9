"""Rows whose vectors are checked, from files or from a collection."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipelines.identity import content_hash
from pipelines.rows import RowError, add_errors, is_dead, set_column
from pipelines.sources.records import STAGE
from pipelines.sources.vectors.columns import checked_vectors, vector_digests
from pipelines.sources.vectors.files import Content


def checked_rows(table: pa.Table, content: Content) -> pa.Table:
    """Check the vectors that ``content`` tells of, which are columns by their own names, and give them its types.

    A row with a vector that cannot be used is dead. One that is missing is null, and the row is dead unless points were
    exported, which may lack vectors.
    """
    missing = np.zeros(table.num_rows, np.int64)
    for number, (vector, spec) in enumerate(content.specs.items()):
        array, faults = checked_vectors(table[vector], spec)
        table = table.set_column(table.schema.get_field_index(vector), vector, array)
        errors = {
            row: RowError(STAGE, "InvalidVector", f"the vector {vector!r} cannot be used: {why}")
            for row, why in faults.items()
        }
        table = add_errors(table, errors)
        if array.null_count:
            missing += (~array.is_valid().to_numpy(zero_copy_only=False)).astype(np.int64) << number
            if not content.exported:
                lost = np.flatnonzero((missing >> number) & 1)
                why = f"the vector {vector!r} is missing"
                table = add_errors(table, {int(row): RowError(STAGE, "NoVector", why) for row in lost})
    # Points are written together that have the same vectors.
    return table.take(np.argsort(missing, kind="stable")) if missing.any() and not is_dead(table).all() else table


def with_vectors_hashed(table: pa.Table, content: Content) -> pa.Table:
    """Let the content hash cover the vectors: no fingerprint tells whether the same model made the same text's."""
    digests = vector_digests([table[vector] for vector in content.specs])
    hashes = [
        held and content_hash(held, digest)
        for held, digest in zip(table["content_hash"].to_pylist(), digests, strict=True)
    ]
    return set_column(table, "content_hash", pa.array(hashes, pa.string()))
