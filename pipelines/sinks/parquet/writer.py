"""Adds files to a folder of Parquet files, and says and gives what it held when the run began."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.filesystem import retries_of, write_file
from pipelines.identity import keys64
from pipelines.rows import set_column, spread
from pipelines.sinks.base import VECTORS_GONE, JobFacts, WriteResult
from pipelines.sinks.parquet.files import encode, file_name, read_vectors, side_by_side
from pipelines.sinks.parquet.index import Place, RowIndex
from pipelines.sinks.parquet.payload import cut_payloads

if TYPE_CHECKING:
    from pipelines.sinks.parquet.sink import ParquetSink


class ParquetWriter:
    """One worker's writer: the keys of what it held when the run began, and a way to add files."""

    def __init__(self, sink: ParquetSink, job: JobFacts, index: RowIndex) -> None:
        self._sink = sink
        self._job = job
        self._index = index
        self._schema = sink.schema(job)

    def held(self, rows: pa.Table) -> npt.NDArray[np.uint8]:
        """Say what was committed, and current, when the run began; see SinkWriter."""
        return self._index.codes(rows)

    def vectors(self, rows: pa.Table) -> pa.Table:
        """Read vectors from the files that were there when the run began; see SinkWriter."""
        return self._vectors_at(self._index.places_of(rows))

    def vectors_of_texts(self, rows: pa.Table) -> pa.Table:
        """Read vectors of rows' texts from those files; see SinkWriter."""
        return self._vectors_at(self._index.places_of_texts(rows))

    def _vectors_at(self, places: Sequence[Place | None]) -> pa.Table:
        sink, names = self._sink, list(self._job.vectors)
        wanted: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for row, place in enumerate(places):
            if place is not None:
                wanted[place[0]].append((row, place[1]))

        def read(name: str) -> pa.Table | None:
            try:
                return read_vectors(sink.filesystem, f"{sink.path}/{name}", names, [at for _, at in wanted[name]])
            except FileNotFoundError:
                return None

        with sink.reporting("cannot be read"):
            tables = side_by_side(read, list(wanted))
        pairs = [(table, wanted[name]) for table, name in zip(tables, wanted, strict=True) if table is not None]
        there = np.array([row for _, some in pairs for row, _ in some], np.int64)
        empty = pa.schema([(name, spec.arrow_type) for name, spec in self._job.vectors.items()]).empty_table()
        found = pa.concat_tables([empty, *(table for table, _ in pairs)])
        return pa.table({name: spread(found[name], there, len(places)) for name in names})

    def update(self, table: pa.Table) -> WriteResult:
        """Commit the rows whole, with the vectors that the folder has for them; see SinkWriter."""
        for name, column in zip(self._job.vectors, self.vectors(table).columns, strict=True):
            table = set_column(table, name, column)
        there = table[next(iter(self._job.vectors))].is_valid()
        result = self.write(table.filter(there))
        gone = np.flatnonzero(~there.to_numpy(zero_copy_only=False))
        return WriteResult(result.written, dict.fromkeys(map(int, gone), VECTORS_GONE), result.retries)

    def write(self, table: pa.Table) -> WriteResult:
        """Commit the rows that the folder does not hold yet, as one file; raises SinkError when it cannot be written,
        or this machine sees another folder of that name than the driver.

        ``written`` counts the rows that were there already, too.
        """
        keys = keys64(table["id"], table["content_hash"])
        missing = ~self._index.has(keys)
        before = retries_of(self._sink.filesystem)
        if missing.any():
            self._commit(table.filter(pa.array(missing)), keys[missing])
        return WriteResult(written=table.num_rows, retries=retries_of(self._sink.filesystem) - before)

    def close(self) -> None:
        """Do nothing: each file is closed when it is written."""

    def _commit(self, table: pa.Table, keys: npt.NDArray[np.uint64]) -> None:
        sink = self._sink
        if sink.mark is not None:
            sink.mark.refuse_unseen()
        if sink.payload is not None:
            table = cut_payloads(table, sink.payload)
        rows = table.select(self._schema.names).cast(self._schema)
        data = encode(rows, self._job, sink.generation, sink.config.compression_level, sink.payload)
        with sink.reporting(f"does not take a file of {rows.num_rows} rows"):
            write_file(sink.filesystem, f"{sink.path}/{file_name(sink.generation, keys)}", data)
