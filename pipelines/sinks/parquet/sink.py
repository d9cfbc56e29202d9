"""A folder of Parquet files as a sink: one file a write, committed whole, read back by any Parquet reader."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from embedders.ordered_map import ordered_map
from pipelines.errors import SinkError
from pipelines.filesystem import TEMPORARY, open_filesystem, write_file
from pipelines.hashing import xxh3_64
from pipelines.sinks.base import JobFacts, LeaseStore
from pipelines.sinks.folder_mark import FolderMark, remove_marks
from pipelines.sinks.lease.file import folder_lease
from pipelines.sinks.lease.record import LEASE, ParquetRecord
from pipelines.sinks.parquet.config import ParquetSinkConfig
from pipelines.sinks.parquet.current import CurrentRows, RowRanks
from pipelines.sinks.parquet.deletion import leave_out_points, read_points
from pipelines.sinks.parquet.files import (
    METADATA_KEY,
    READERS,
    FileDescription,
    FileRows,
    describe_file,
    encode_with,
    file_schema,
    is_part_name,
    read_rows,
    side_by_side,
)
from pipelines.sinks.parquet.fit import refuse_unless_fit, unreadable
from pipelines.sinks.parquet.index import RowIndex
from pipelines.sinks.parquet.payload import PayloadColumn, learn_columns
from pipelines.sinks.parquet.writer import ParquetWriter
from pipelines.sinks.provenance import as_held
from pipelines.sinks.ray_context import running_ray

SUCCESS = "_SUCCESS"
# Of older versions. Readers that take every file of a folder, such as polars, trip over them.
OLDER_FILES = ("_manifest.json", LEASE)
# Name, size and time of writing: a file that has the same is the same.
FileStamp = tuple[str, int, int | None]


class ParquetSink:
    """Writes rows to Parquet files in a folder, and takes from them what need not be embedded again.

    ``_SUCCESS`` is there only while the folder is what a completed run left. A run that did not complete may leave rows
    twice, under one id; the next run settles them. All other files that are there, ever, are empty or have the columns
    of the rest: see ``ParquetRecord``.
    """

    def __init__(self, config: ParquetSinkConfig) -> None:
        self.config = config
        self.workers = config.writers
        self.filesystem, self.path = open_filesystem(config.path)
        self.path = self.path.rstrip("/")
        self.connects_at_once = isinstance(self.filesystem, fs.LocalFileSystem)
        self.place = config.place
        self.name = f"parquet:{self.place}"
        self.job: JobFacts | None = None
        self.generation = 1
        self._ranks = RowRanks()
        self._described: dict[FileStamp, FileDescription] = {}
        self._index: Any = RowIndex.of([], {})
        self._new_columns = True
        # The columns that payloads are put into: those of the folder's files, else those that were learned.
        self.payload: tuple[PayloadColumn, ...] | None = () if config.payload == "columns" else None
        self._was_complete = self._is_open = False
        self._deleted: list[pa.ChunkedArray] = []
        # What a writer on another machine proves by that it sees this folder; an object store needs none.
        self.mark: FolderMark | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ranks": RowRanks(), "_described": {}, "_deleted": []}

    def check(self, job: JobFacts) -> dict[str, Any]:
        """Read every file's metadata; raises SinkError where the folder holds what this job cannot add to."""
        files = self._look(job)
        return {"exists": self._exists(), "files": len(files), "points": sum(file.rows for file in files.values())}

    @property
    def is_to_learn(self) -> bool:
        """Whether the payload's columns are to be chosen by rows of the source, before ``check``."""
        return self.payload is not None and not self._list()

    def learn_payload(self, payloads: Sequence[str | None], vectors: Collection[str]) -> list[str]:
        """Choose the payload's columns by some of the source's rows; returns what is to be told."""
        columns, notices = learn_columns(payloads, vectors)
        self.payload = tuple(columns)
        return [f"{self.name}: {notice}" for notice in notices]

    def provenance(self) -> dict[str, Any] | None:
        """Read the metadata of the newest file; None for one that ``check`` refuses. See Sink."""
        names = [info.base_name for info in self._list() if is_part_name(info.base_name)]
        try:
            return describe_file(self.filesystem, f"{self.path}/{names[-1]}").provenance if names else None
        except (OSError, pa.ArrowInvalid):
            return None

    def lease_store(self) -> LeaseStore:
        """Return the file in the folder that says who writes there; see Sink."""
        return folder_lease(self.name, self.filesystem, self.path, ParquetRecord(self.schema))

    def open(self, job: JobFacts) -> None:
        """Clear what a killed run left unfinished, and index the committed rows."""
        files = self._look(job)
        self.job = as_held(job, [file.provenance or {} for file in files.values()])
        with self.reporting("cannot be made ready"):
            self.filesystem.create_dir(self.path, recursive=True)
            self._was_complete = self._remove(SUCCESS)
            for name in OLDER_FILES:
                self._remove(name)
            self._clear_temporary()
            if isinstance(self.filesystem, fs.LocalFileSystem):
                self.mark = FolderMark.leave(self.path)
        self._ranks, self._deleted = RowRanks(), []
        self.generation = 1 + max(
            (file.provenance["generation"] for file in files.values() if file.provenance), default=0
        )
        held = list(self._read_rows(files, contents=True))
        index = RowIndex.of(held, self._ranks.current(list(files)))
        # One copy a machine in the object store, rather than one a worker.
        ray = running_ray()
        self._index = ray.put(index) if ray else index
        self._is_open = True

    def connect(self) -> ParquetWriter:
        """Make a worker's writer; ``open`` comes first."""
        if self.job is None:
            raise RuntimeError("open() the sink before connect()")
        ray = running_ray()
        shared = ray is not None and isinstance(self._index, ray.ObjectRef)
        return ParquetWriter(self, self.job, ray.get(self._index) if ray and shared else self._index)

    def points(self, documents: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Read the ids of all files of the corpus; see Sink."""
        if self.job is None:
            raise RuntimeError("open() the sink before points()")
        files = self._describe_files(self.job)
        current = self._current(files)
        corpus = {name for name, file in files.items() if (file.provenance or {}).get("corpus") == self.job.corpus}
        with self.reporting("cannot be read"):
            its = ((name, kept) for name, kept in current.items() if name in corpus)
            yield from read_points(self.filesystem, self.path, its, documents)

    def delete(self, points: pa.Table) -> None:
        """Leave points out when the folder is settled, oldest files first; see Sink."""
        self._deleted.append(points["id"])

    def finish(self, *, completed: bool, untouched: bool = False) -> dict[str, Any]:
        """Remove rows that a newer one replaced, and deleted ones, then mark the folder as complete.

        A run that failed leaves all as it is.
        """
        figures: dict[str, Any] = {"path": self.place}
        if untouched and self._was_complete:
            self._mark_complete()
        if self.job is None or not completed:
            if self.mark is not None:
                self.mark.remove()
            return figures
        files = self._describe_files(self.job)
        current = self._current(files)
        replaced = sum(int((~kept).sum()) for kept in current.values())
        if self._deleted:
            deleted = pa.chunked_array([ids for some in self._deleted for ids in some.chunks], pa.string())
            with self.reporting("cannot be read"):
                names = [name for name in self._ranks.having(xxh3_64(deleted)) if name in files]
                leave_out_points(self.filesystem, self.path, names, current, deleted)
        counts = {name: count for name in sorted(current) if (count := int(current[name].sum()))}
        with self.reporting("cannot be settled"):
            for name, kept in current.items():
                if not kept.all():
                    self._keep(name, kept)
            self._mark_complete()
            self._clear_temporary()
            if self.mark is not None:
                remove_marks(self.path)
        return {**figures, "points": sum(counts.values()), "files": len(counts), "replaced": replaced}

    def abandon(self) -> None:
        """Do nothing: no file is open."""

    @contextmanager
    def reporting(self, what: str) -> Iterator[None]:
        """Turn errors of the file system into SinkErrors; libraries of object stores have some of their own."""
        try:
            yield
        except SinkError:
            raise
        except Exception as error:
            # Before a run has written anything, there is nothing to comfort about.
            comfort = "; what was written before stays, a new run adds to it" if self._is_open else ""
            raise SinkError(f"{self.place} {what}: {error}{comfort}") from None

    def _exists(self) -> bool:
        return bool(self.filesystem.get_file_info(self.path).type == fs.FileType.Directory)

    def _list(self) -> list[fs.FileInfo]:
        with self.reporting("cannot be listed"):
            if isinstance(self.filesystem, fs.LocalFileSystem) and Path(self.path).is_file():
                raise SinkError(f"{self.place} cannot be written to: it is a file, no folder; choose another path")
            found = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        files = (
            info
            for info in found
            if info.is_file and info.base_name.endswith(".parquet") and not info.base_name.startswith(("_", "."))
        )
        return sorted(files, key=lambda info: info.base_name)

    def schema(self, job: JobFacts) -> pa.Schema:
        """Columns of the files that a run adds to the folder as ``check`` or ``open`` found it."""
        return file_schema(job, store_text=self.config.store_text, new_columns=self._new_columns, payload=self.payload)

    def _look(self, job: JobFacts) -> dict[str, FileDescription]:
        files = self._describe_files(job)
        self._new_columns = all(file.has_new_columns for file in files.values())
        kinds = {file.payload for file in files.values()}
        if len(kinds) > 1:
            raise SinkError(f"{self.place} has files with different columns of payload; choose another path")
        self.payload = kinds.pop() if kinds else self.payload
        return files

    def _describe_files(self, job: JobFacts) -> dict[str, FileDescription]:
        """Read the metadata of all files that are not known yet; raises SinkError at the first that does not fit."""

        def describe(info: fs.FileInfo) -> FileDescription:
            name, stamp = info.base_name, (info.base_name, info.size, info.mtime_ns)
            try:
                file = self._described.get(stamp) or describe_file(self.filesystem, f"{self.path}/{name}")
            except FileNotFoundError:
                raise SinkError(
                    f"{self.place}/{name} was there a moment ago and is gone; run the job again when nothing else "
                    "changes that folder"
                ) from None
            except (OSError, pa.ArrowInvalid) as error:
                raise unreadable(self.config, name, error) from None
            self._described[stamp] = file
            refuse_unless_fit(self.config, name, file, job)
            return file

        found = self._list()
        return {info.base_name: file for info, file in zip(found, side_by_side(describe, found), strict=True)}

    def _current(self, files: dict[str, FileDescription]) -> CurrentRows:
        """Tell which rows are current, with those of files not read before."""
        for _ in self._read_rows(files):
            pass
        with self.reporting("cannot be compared"):
            return self._ranks.current(list(files))

    def _read_rows(self, files: dict[str, FileDescription], *, contents: bool = False) -> Iterator[FileRows]:
        """Read the rows of files not read before; a name stands for its rows, so no file is read twice."""
        asked = self.config.reuse_moved

        def rows_of(name: str) -> FileRows:
            path = f"{self.path}/{name}"
            return read_rows(self.filesystem, path, files[name], contents=contents, text_hashes=asked)

        fresh = [name for name in files if name not in self._ranks]
        for rows in ordered_map(rows_of, fresh, threads=READERS):
            with self.reporting("cannot be compared"):
                self._ranks.add(rows)
            yield rows

    def _keep(self, name: str, kept: npt.NDArray[np.bool_]) -> None:
        """Write a file anew with only some of its rows, or delete it where none are left."""
        path = f"{self.path}/{name}"
        if not kept.any():
            self.filesystem.delete_file(path)
            return
        table = pq.read_table(path, filesystem=self.filesystem, partitioning=None)
        provenance = table.schema.metadata[METADATA_KEY]
        data = encode_with(table.filter(pa.array(kept)), provenance, self.config.compression_level)
        write_file(self.filesystem, path, data)

    def _mark_complete(self) -> None:
        with self.reporting("cannot be settled"):
            write_file(self.filesystem, f"{self.path}/{SUCCESS}", pa.py_buffer(b""))

    def _remove(self, name: str) -> bool:
        """Delete a file, if there is one; returns whether there was."""
        there = self.filesystem.get_file_info(f"{self.path}/{name}").is_file
        if there:
            self.filesystem.delete_file(f"{self.path}/{name}")
        return bool(there)

    def _clear_temporary(self) -> None:
        if self.filesystem.get_file_info(f"{self.path}/{TEMPORARY}").type == fs.FileType.Directory:
            self.filesystem.delete_dir(f"{self.path}/{TEMPORARY}")
