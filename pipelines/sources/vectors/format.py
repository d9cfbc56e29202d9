"""Files with vectors as a format: their rows have all that sinks take."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.config.source import SourceConfig
from pipelines.rows import IDENTIFIED_SCHEMA, error_array
from pipelines.sources.base import Format
from pipelines.sources.files import FoundFile
from pipelines.sources.records import READ_ERRORS, unreadable
from pipelines.sources.split import SPLIT_BYTES, Split
from pipelines.sources.vectors.checked import checked_rows, with_vectors_hashed
from pipelines.sources.vectors.files import Content, content_of, opened
from pipelines.sources.vectors.join import with_joined
from pipelines.sources.vectors.rows import exported_rows, sink_rows


class Vectors(Format):
    """Rows with vectors, of a Parquet sink or an export of a collection; none of them goes through a model."""

    name = "vectors"
    is_table = False
    is_identified = True

    def identified(self, split: Split, config: SourceConfig, *, block_rows: int) -> Iterator[pa.Table]:
        """See Format. A vector that cannot be used makes its row dead; one that is missing is null."""
        left = split.max_rows
        for file in split.joined[0] if split.joined else (None,):
            for table in _tables(split, file, block_rows):
                table = table if left is None else table.slice(0, left)
                left = None if left is None else left - table.num_rows
                if table.num_rows:
                    yield table

    def count_documents(self, split: Split) -> int:
        """Count the documents of a split: its first chunks, or its rows where documents were not cut."""
        documents, rows = 0, split.rows or 0
        for file in split.joined[0] if split.joined else (None,):
            root, path, name = _place(split, file)
            try:
                with opened(root, path) as parquet:
                    content = content_of(parquet, name)
                    if content.exported or not content.provenance["chunked"]:
                        return rows if split.max_rows is None else min(rows, split.max_rows)
                    stop = split.stop if split.stop is not None else parquet.num_row_groups
                    table = parquet.read_row_groups(list(range(split.start, stop)), ["chunk_no", "chunk_count"])
            except READ_ERRORS:
                continue
            if split.max_rows is not None:
                counts = table["chunk_count"].to_numpy()[: split.max_rows - rows]
                return int(np.reciprocal(counts.astype(np.float64)).sum())
            documents += int(pc.sum(pc.equal(table["chunk_no"], 0)).as_py() or 0)
        return documents


def _place(split: Split, file: FoundFile | None) -> tuple[str, str, str]:
    return (split.root, split.path, split.name) if file is None else (file.root, file.path, file.name)


def _tables(split: Split, file: FoundFile | None, block_rows: int) -> Iterator[pa.Table]:
    root, path, name = _place(split, file)
    position = split.first_row or 1
    content = None
    try:
        with opened(root, path) as parquet:
            content = content_of(parquet, name)
            for group in range(split.start, parquet.num_row_groups if split.stop is None else split.stop):
                about = parquet.metadata.row_group(group)
                end = position + about.num_rows
                size = max(1, min(block_rows, SPLIT_BYTES * about.num_rows // max(1, about.total_byte_size)))
                try:
                    for batch in parquet.iter_batches(size, row_groups=[group], use_threads=False):
                        read = pa.Table.from_batches([batch])
                        table = _identified(read, content, f"{name}:row ", position)
                        for beside in split.joined[1:]:
                            table = checked_rows(with_joined(table, beside), _content(beside[0]))
                        yield table
                        position += batch.num_rows
                except READ_ERRORS as error:
                    what = f"row group {group} of file {name} cannot be read"
                    yield _lost(what, error, f"{end - position:,} rows of it are missing", name)
                    position = end
    except READ_ERRORS as error:
        yield _lost(f"file {name} cannot be read", error, "rows in it are missing", name)


def _content(file: FoundFile) -> Content:
    with opened(file.root, file.path) as parquet:
        return content_of(parquet, file.name)


def _identified(read: pa.Table, content: Content, origin: str, first: int) -> pa.Table:
    base = exported_rows(read, content) if content.exported else sink_rows(read, content)
    numbers = pc.cast(pa.array(np.arange(first, first + read.num_rows)), pa.string())
    base = base.set_column(
        base.schema.get_field_index("origin"), "origin", pc.binary_join_element_wise(origin, numbers, "")
    )
    for vector, column in content.columns.items():
        base = base.append_column(vector, read[column])
    # Folders of a sink have the hashes of the export that filled them, by which they are joined.
    hashed = content.exported and content.is_foreign
    return checked_rows(with_vectors_hashed(base, content) if hashed else base, content)


def _lost(what: str, error: BaseException, loss: str, name: str) -> pa.Table:
    columns = {
        **{field.name: pa.nulls(1, field.type) for field in IDENTIFIED_SCHEMA},
        "origin": pa.array([name], pa.string()),
        "error": error_array([unreadable(what, error, loss)[2]]),
    }
    return pa.table(columns, schema=IDENTIFIED_SCHEMA)
