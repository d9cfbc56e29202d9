"""A folder of Parquet files with the columns that qdrant-to-parquet gives an export of a collection.

Columns are ``id``, ``vector`` or ``vector_<name>`` (list<float32>, list<list<float32>> or struct<indices, values>) and
``payload``, JSON with sorted keys, which is that of a point: text, document, chunk and what made it stand in there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from embedders.arrow import SPARSE_TYPE, number_type
from embedders.base import VectorSpec
from pipelines.errors import SinkError
from pipelines.filesystem import open_filesystem, write_file
from pipelines.identity import keys64
from pipelines.rows import IDENTIFIED_SCHEMA
from pipelines.sinks.base import VECTORS_GONE, Held, JobFacts, LeaseStore, WriteResult
from pipelines.sinks.lease.file import folder_lease
from pipelines.sinks.lease.record import LEASE, PARQUET_LEASE, ParquetRecord
from pipelines.sinks.parquet.config import ParquetSinkConfig
from pipelines.sinks.parquet.files import file_name, is_part_name
from pipelines.sinks.provenance import provenance_of

SUCCESS = "_SUCCESS"
LISTS = pa.list_(pa.float32())
KINDS = {"dense": ("dense", LISTS), "multivector": ("multi", pa.list_(LISTS)), "sparse": ("sparse", SPARSE_TYPE)}


class ExportSink:
    """Writes rows as points of an export, into a folder that is empty or holds what a run left unfinished.

    Such files do not tell which rows are unchanged without reading all payloads. So nothing of them is held: a run
    writes all of its rows, after one that did not end it begins anew, and a folder that is complete is refused.
    """

    def __init__(self, config: ParquetSinkConfig) -> None:
        self.config = config
        self.workers = config.writers
        self.filesystem, path = open_filesystem(config.path)
        self.path = path.rstrip("/")
        self.connects_at_once = isinstance(self.filesystem, fs.LocalFileSystem)
        self.name = f"parquet:{config.place}"
        self.job: JobFacts | None = None

    def check(self, job: JobFacts) -> dict[str, Any]:
        """Raise SinkError where the folder holds a whole export, or files that no run left unfinished."""
        names = self._names()
        data = [name for name in names if name.endswith(".parquet") and name != PARQUET_LEASE]
        if data and (SUCCESS in names or not all(is_part_name(name) for name in data)):
            raise SinkError(
                f"{self.config.place} holds files already, and layout: qdrant keeps no account of which rows are "
                "unchanged; choose another path for this job, or delete that folder"
            )
        return {"exists": bool(names), "points": 0}

    def provenance(self) -> dict[str, Any] | None:
        """Return None: a run chooses anew. See Sink."""
        return None

    def lease_store(self) -> LeaseStore:
        """Return the file in the folder that says who writes there; see Sink."""
        return folder_lease(self.name, self.filesystem, self.path, ParquetRecord(self._schema))

    def open(self, job: JobFacts) -> None:
        """Make the folder, and remove what a run left unfinished."""
        self.check(job)
        self.job = job
        with self.reporting("cannot be made ready"):
            self.filesystem.create_dir(self.path, recursive=True)
            for name in self._names():
                if is_part_name(name) or name == LEASE:
                    self.filesystem.delete_file(f"{self.path}/{name}")

    def connect(self) -> ExportWriter:
        """Make a worker's writer; ``open`` comes first."""
        if self.job is None:
            raise RuntimeError("open() the sink before connect()")
        return ExportWriter(self, self.job)

    def finish(self, *, completed: bool, untouched: bool = False) -> dict[str, Any]:
        """Mark the folder as complete; a run that failed leaves all as it is."""
        figures: dict[str, Any] = {"path": self.config.place}
        if not completed:
            return figures
        with self.reporting("cannot be settled"):
            names = [name for name in self._names() if is_part_name(name)]
            points = 0
            for name in names:
                with self.filesystem.open_input_file(f"{self.path}/{name}") as source:
                    points += pq.ParquetFile(source).metadata.num_rows
            write_file(self.filesystem, f"{self.path}/{SUCCESS}", pa.py_buffer(b""))
        return {**figures, "points": points, "files": len(names)}

    def points(self, documents: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Give none: all that the folder has was written by this run. See Sink."""
        return iter(())

    def delete(self, points: pa.Table) -> None:
        """Do nothing, since ``points`` gives none."""

    def abandon(self) -> None:
        """Do nothing: no file is open."""

    @contextmanager
    def reporting(self, what: str) -> Iterator[None]:
        """Turn errors of the file system into SinkErrors; libraries of object stores have some of their own."""
        try:
            yield
        except Exception as error:
            raise SinkError(f"{self.config.place} {what}: {error}; run the job again") from None

    def _schema(self, job: JobFacts) -> pa.Schema:
        vectors = [(name, spec.arrow_type) for name, spec in job.vectors.items()]
        empty = pa.schema([*IDENTIFIED_SCHEMA, *vectors]).empty_table()
        return exported(empty, job, store_text=self.config.store_text).schema

    def _names(self) -> list[str]:
        with self.reporting("cannot be listed"):
            found = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return sorted(info.base_name for info in found if info.is_file)


class ExportWriter:
    """One worker's writer: a file for each table."""

    def __init__(self, sink: ExportSink, job: JobFacts) -> None:
        self._sink, self._job = sink, job

    def held(self, rows: pa.Table) -> npt.NDArray[np.uint8]:
        """Say that all rows are lacking: see ExportSink."""
        return np.full(rows.num_rows, Held.LACKS, np.uint8)

    def vectors(self, rows: pa.Table) -> pa.Table:
        """Give none, since nothing is held; see SinkWriter."""
        return pa.table({name: pa.nulls(rows.num_rows, spec.arrow_type) for name, spec in self._job.vectors.items()})

    def vectors_of_texts(self, rows: pa.Table) -> pa.Table:
        """Give none; see SinkWriter."""
        return self.vectors(rows)

    def write(self, table: pa.Table) -> WriteResult:
        """Commit rows as one file; the same rows written again replace it."""
        if table.num_rows:
            sink = self._sink
            stream = pa.BufferOutputStream()
            rows = exported(table, self._job, store_text=sink.config.store_text)
            pq.write_table(rows, stream, compression="zstd", compression_level=sink.config.compression_level)
            name = file_name(1, keys64(table["id"], table["content_hash"]))
            with sink.reporting(f"does not take a file of {rows.num_rows} rows"):
                write_file(sink.filesystem, f"{sink.path}/{name}", stream.getvalue())
        return WriteResult(written=table.num_rows)

    def update(self, table: pa.Table) -> WriteResult:
        """Reject all rows, since nothing is held; see SinkWriter."""
        return WriteResult(rejected=dict.fromkeys(range(table.num_rows), VECTORS_GONE))

    def close(self) -> None:
        """Do nothing: each file is closed when it is written."""


def exported(table: pa.Table, job: JobFacts, *, store_text: bool) -> pa.Table:
    """Give rows the columns and metadata of an export.

    Points of a collection that no job of this tool filled have the payload that they had.
    """
    # Imported late: qdrant-client takes a second, and the other layout needs none.
    from pipelines.sinks.qdrant.points import payload

    def whole(row: dict[str, Any]) -> dict[str, Any]:
        if job.models:
            return payload(row, job, store_text=store_text)
        own: dict[str, Any] = json.loads(row["payload"] or "{}")
        return own if row["text"] is None else {**own, "text": row["text"]}

    rows = table.drop_columns([*job.vectors]).to_pylist()
    payloads = [json.dumps(whole(row), ensure_ascii=False, separators=(",", ":"), sort_keys=True) for row in rows]
    fields, columns = [pa.field("id", pa.string(), nullable=False)], [table["id"]]
    described = {}
    for name in sorted(job.vectors, key=lambda name: (job.vectors[name].kind == "sparse", name)):
        spec, column = job.vectors[name], f"vector_{name}" if name else "vector"
        kind, arrow_type = KINDS[spec.kind]
        fields.append(pa.field(column, arrow_type))
        columns.append(table[name].cast(arrow_type))
        distance = None if kind == "sparse" else spec.distance.capitalize()
        described[column] = {"name": name, "kind": kind, "size": spec.dim, "distance": distance}
    metadata = {
        "qdrant.collection": job.corpus,
        "qdrant.collection_config": json.dumps(_collection_config(job), sort_keys=True),
        "qdrant.vectors": json.dumps(described),
        "qdrant.exporter": "fleetembed",
    }
    schema = pa.schema([*fields, pa.field("payload", pa.string())], metadata=metadata)
    return pa.Table.from_arrays([*columns, pa.array(payloads, pa.string())], schema=schema)


def _collection_config(job: JobFacts) -> dict[str, Any]:
    """Describe the collection that would hold the points, as Qdrant's API does, as far as a job knows it."""
    dense = {name: _dense_params(spec) for name, spec in job.vectors.items() if spec.kind != "sparse"}
    sparse = {
        name: {"index": None, "modifier": "idf" if spec.idf else None}
        for name, spec in job.vectors.items()
        if spec.kind == "sparse"
    }
    vectors = dense.get("", dense)
    metadata = {"fleetembed": provenance_of(job)} if job.models else None
    return {"params": {"vectors": vectors, "sparse_vectors": sparse or None}, "metadata": metadata}


def _dense_params(spec: VectorSpec) -> dict[str, Any]:
    return {
        "size": spec.dim,
        "distance": spec.distance.capitalize(),
        "datatype": {pa.float16(): "float16", pa.uint8(): "uint8"}.get(number_type(spec.arrow_type)),
        "multivector_config": {"comparator": "max_sim"} if spec.kind == "multivector" else None,
    }
