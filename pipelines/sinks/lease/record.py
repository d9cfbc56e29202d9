"""The file that a folder keeps the record of who holds it in.

A folder of Parquet files has it as one more of them, which has their columns and no row: some readers of a folder, such
as polars, take every file in it, whatever its name, and want all of them to be alike. Only a file of another name does
for older versions, which refuse a folder with a Parquet file that they do not know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.sinks.base import JobFacts

# Names begin with ``_`` so that most readers pass them over.
LEASE = "_lease.json"
PARQUET_LEASE = "_lease.parquet"
_KEY = b"fleetembed_lease"


class RecordFile(Protocol):
    """How a record is kept: the file's name, and those that older versions keep theirs in, which count too.

    One that ``is_read_along`` is read by whoever reads all files of the folder.
    """

    name: str
    older: tuple[str, ...]
    is_read_along: bool

    def prepare(self, job: JobFacts) -> None:
        """Get ready to encode."""

    def encode(self, text: str) -> bytes:
        """Make the file's content of a record."""

    def decode(self, data: bytes) -> str:
        """Read a record; of what is none, such as the beginning of one, whatever it says."""


class TextRecord:
    """A record as it is."""

    name = LEASE
    older: tuple[str, ...] = ()
    is_read_along = False

    def prepare(self, job: JobFacts) -> None:
        """Do nothing."""

    def encode(self, text: str) -> bytes:
        """See RecordFile."""
        return text.encode()

    def decode(self, data: bytes) -> str:
        """See RecordFile."""
        return data.decode(errors="replace")


class ParquetRecord:
    """A record in the metadata of a Parquet file without rows, whose columns are those that a job's files have."""

    name = PARQUET_LEASE
    older: tuple[str, ...] = (LEASE,)
    is_read_along = True

    def __init__(self, schema: Callable[[JobFacts], pa.Schema]) -> None:
        self._make_schema = schema
        self._schema: pa.Schema | None = None

    def prepare(self, job: JobFacts) -> None:
        """Learn which columns the job's files have."""
        self._schema = self._make_schema(job)

    def encode(self, text: str) -> bytes:
        """See RecordFile."""
        if self._schema is None:
            raise RuntimeError("prepare() the place before a record is written")
        stream = pa.BufferOutputStream()
        pq.write_table(self._schema.with_metadata({_KEY: text.encode()}).empty_table(), stream)
        data: bytes = stream.getvalue().to_pybytes()
        return data

    def decode(self, data: bytes) -> str:
        """See RecordFile."""
        try:
            metadata = pq.read_schema(pa.BufferReader(data)).metadata or {}
        except pa.ArrowException:
            return ""
        text: bytes = metadata.get(_KEY, b"")
        return text.decode(errors="replace")
