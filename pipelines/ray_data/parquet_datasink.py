"""A datasink that writes a dataset to Parquet files which any reader takes, all of them at once in the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import PathLike, fspath
from typing import TYPE_CHECKING, Literal, get_args
from uuid import uuid4

import numpy as np
import pyarrow as pa
from pyarrow import fs
from ray.data.datasource import Datasink

from pipelines.config.section import expand_home
from pipelines.config.shown import shown
from pipelines.errors import ConfigError, SinkError, TooManyErrorsError
from pipelines.filesystem import open_filesystem
from pipelines.ray_data.arrow_blocks import to_table
from pipelines.ray_data.columns import ERROR, is_of_errors, refuse_missing
from pipelines.ray_data.letters import Letters
from pipelines.ray_data.parquet_commit import commit, complete_others, discard, is_begun, staging_of
from pipelines.ray_data.parquet_folder import Keys, ParquetFolder, id_keys, newest
from pipelines.ray_data.points import document_ids, taken_errors, texts_of
from pipelines.ray_data.report import TaskFigures, WriteReport, add_up, refuse_too_many, told_of
from pipelines.rows import RowError, add_errors, is_dead
from pipelines.sinks.folder_mark import FolderMark
from pipelines.sinks.parquet.files import METADATA_KEY
from pipelines.urls import without_credentials

if TYPE_CHECKING:
    from ray.data._internal.execution.interfaces import TaskContext
    from ray.data.block import Block
    from ray.data.datasource import WriteResult

log = logging.getLogger("fleetembed")

Mode = Literal["append", "overwrite", "upsert", "error"]
FILE_BYTES = 256 << 20


@dataclass
class StagedFile:
    """A file that a task wrote: its columns as Arrow writes a schema, and with ``upsert`` a key of each row's id."""

    name: str
    rows: int
    schema: bytes
    keys: Keys | None


class ParquetDatasink(Datasink[TaskFigures]):
    """Writes a dataset to Parquet files: ``Dataset.write_datasink(ParquetDatasink("vectors/"))``.

    Files have the dataset's columns as plain Arrow types, whatever Ray keeps them in: vectors are lists whose length
    any reader knows. They appear in the folder when all of them are written: a write that fails changes nothing there.
    What was done is in ``report`` when ``write_datasink`` is over.

    Args:
        path: The folder, or its URL.
        mode: ``append`` adds files, ``overwrite`` takes the Parquet files out that were there, ``error`` refuses a
            folder that has some, ``upsert`` replaces rows that have the ``id`` of a new one.
        id: The column of the ids, for ``upsert`` alone.
        dead_letters: A folder or URL for Parquet files with the rows whose column ``error`` (struct of stage, type and
            message) is not null; such rows are in no other file.
        max_error_rate: Share of such rows past which ``write_datasink`` raises TooManyErrorsError, and nothing is
            written.
        metadata: Texts by key that each file's schema is to hold, beside those that the dataset's has.
        compression_level: Of zstd.

    Examples:
        >>> import ray
        >>> from pipelines import ParquetDatasink
        >>> datasink = ParquetDatasink(folder)
        >>> rows = [{"id": 1, "dense": [1.0, 0.0]}, {"id": 2, "dense": [0.0, 1.0]}]
        >>> ray.data.from_items(rows).write_datasink(datasink)
        >>> datasink.report.written
        2
    """

    report: WriteReport | None

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        mode: Mode = "append",
        id: str | None = None,
        dead_letters: str | PathLike[str] | None = None,
        max_error_rate: float = 0.01,
        metadata: Mapping[str, str] | None = None,
        compression_level: int = 3,
    ) -> None:
        if mode not in get_args(Mode):
            raise ConfigError(f"ParquetDatasink: mode {mode!r} is none of {', '.join(get_args(Mode))}")
        if (mode == "upsert") != (id is not None):
            raise ConfigError("ParquetDatasink: mode='upsert' and id=... (the column of the ids) go together")
        if not 0 <= max_error_rate <= 1:
            raise ConfigError(f"ParquetDatasink: max_error_rate {max_error_rate!r} is not from 0 to 1")
        path = fspath(path)
        if not path:
            raise ConfigError("ParquetDatasink: path is empty; name a folder or its URL")
        self.filesystem, folder = open_filesystem(expand_home(path))
        self.folder = folder.rstrip("/")
        self.place = without_credentials(path)
        self._folder = ParquetFolder(self.filesystem, self.folder, self.place, compression_level)
        self.mode: str = mode
        self.report = None
        self._id, self._max_error_rate = id, max_error_rate
        self._metadata = _checked_metadata({} if metadata is None else metadata)
        self._letters = Letters(dead_letters)
        self._run = ""
        self._mark: FolderMark | None = None
        self._started = 0.0
        self._running = False

    @property
    def min_bytes_per_write(self) -> int:
        """Bytes that a task writes at least, about, so that there are not many small files."""
        return 64 << 20

    def on_write_start(self, schema: pa.Schema | None = None) -> None:
        """Look at the folder, and complete what a write before left half done there; raises SinkError."""
        self.report, self._started, self._run = None, time.time(), uuid4().hex
        self._running = True
        self._letters.open()
        with self._reporting("cannot be made ready"):
            for run in complete_others(self.filesystem, self.folder):
                log.warning("%s: the commit of the write %s was interrupted, and is complete now", self.place, run)
            there = self._folder.names()
            if there and self.mode == "error":
                raise SinkError(
                    f"{self.place} holds {len(there)} Parquet files already; choose another path, or mode='append', "
                    "'overwrite' or 'upsert'"
                )
            # All that overwriting takes out; of others, the first tells the columns.
            self._folder.refuse_of_a_job(there if self.mode == "overwrite" else there[:1])
            if there and self.mode != "overwrite":
                self._folder.schema_of(there[0])
            if self._id is not None and isinstance(schema, pa.Schema):
                refuse_missing(schema.names, self._id, "id")
            staging = staging_of(self.folder, self._run)
            self.filesystem.create_dir(staging, recursive=True)
            if isinstance(self.filesystem, fs.LocalFileSystem):
                self._mark = FolderMark.leave(staging)

    def write(self, blocks: Iterable[Block], ctx: TaskContext) -> TaskFigures:
        """Stage the rows of one task."""
        figures = TaskFigures(found=[])
        tables = [table for table in map(to_table, blocks) if table.num_rows]
        if not tables:
            return figures
        if self._mark is not None:
            self._mark.refuse_unseen()
        folder = self._letters.folder_here()
        with self._reporting("does not take the rows"):
            live = [self._live(table, figures, folder, ctx.task_idx) for table in tables]
            whole = _put_together(live)
            step = max(1, int(whole.num_rows * FILE_BYTES / max(1, whole.nbytes)))
            for number, start in enumerate(range(0, whole.num_rows, step)):
                rows = whole.slice(start, step)
                name = f"part-{self._run[:12]}-{ctx.task_idx:05d}-{number:03d}.parquet"
                figures.found.append(self._staged(name, rows))
                figures.written += rows.num_rows
        return figures

    def on_write_complete(self, write_result: WriteResult[TaskFigures]) -> None:
        """Commit the files of all tasks, unless too many rows are dead, and make the report."""
        tasks = [task for task in write_result.write_returns if task is not None]
        staged = [file for task in tasks for file in task.found]
        report = add_up(tasks, self.place, self._letters.place)
        refuse_too_many(report, self._max_error_rate, "Nothing is written")
        if self._run:
            with self._reporting("cannot be committed"):
                self._commit(staged)
        self._running = False
        self._letters.close()
        seconds = time.time() - self._started if self._started else 0.0
        self.report = add_up(tasks, self.place, self._letters.place, seconds=seconds, files=len(staged))
        (log.warning if self.report.dead else log.info)("%s", self.report)

    def on_write_failed(self, error: BaseException) -> None:
        """Remove what was staged, and say what stays."""
        if isinstance(error, TooManyErrorsError) and self.report is not None and not self._running:
            # All was settled, and told.
            return
        started, self._running = self._running, False
        self._letters.close()
        stays = "nothing of this write is there, and what was there before stays"
        with suppress(Exception):
            if not started:
                pass
            elif is_begun(self.filesystem, self.folder, self._run):
                stays = "its commit was begun, and the next write to this folder completes it"
            else:
                discard(self.filesystem, self.folder, self._run)
        log.warning("%s: the write failed; %s", self.place, stays)
        self.report = WriteReport(
            self.place,
            seconds=time.time() - self._started if started else 0.0,
            dead_letters=self._letters.place,
            error=told_of(error),
        )

    def _live(self, table: pa.Table, figures: TaskFigures, folder: str | None, task: int) -> pa.Table:
        """Give the rows without an error, and the others to the dead letters."""
        figures.rows += table.num_rows
        has_errors = ERROR in table.column_names and is_of_errors(table.schema.field(ERROR).type)
        if self._id is not None:
            refuse_missing(table.column_names, self._id, "id")
        if not has_errors and (self._id is None or not table[self._id].null_count):
            return table
        name = self._id or ("id" if "id" in table.column_names else None)
        letters = pa.table(
            {
                "document_id": document_ids(table, name),
                "text": texts_of(table["text"])
                if "text" in table.column_names
                else pa.nulls(table.num_rows, pa.string()),
                "error": taken_errors(table, ERROR if has_errors else None),
            }
        )
        if self._id is not None:
            nameless = np.flatnonzero(~table[self._id].is_valid().to_numpy())
            letters = add_errors(
                letters, {int(row): RowError("write", "InvalidId", "the id is null") for row in nameless}
            )
        figures.keep_dead(letters, folder, self._run, task)
        live = table.filter(pa.array(~is_dead(letters)))
        return live.drop_columns([ERROR]) if has_errors else live

    def _staged(self, name: str, rows: pa.Table) -> StagedFile:
        told = {key: value for key, value in (rows.schema.metadata or {}).items() if key != METADATA_KEY}
        if METADATA_KEY in (rows.schema.metadata or {}):
            # Files with that key are those of a job's sink.
            told[b"fleetembed_provenance"] = rows.schema.metadata[METADATA_KEY]
        told |= {key.encode(): value.encode() for key, value in self._metadata.items()}
        rows = rows.replace_schema_metadata(told)
        self._folder.stage(self._run, name, rows)
        keys = None if self._id is None else id_keys(rows[self._id])
        return StagedFile(name, rows.num_rows, rows.schema.serialize().to_pybytes(), keys)

    def _commit(self, staged: list[StagedFile]) -> None:
        folder, there = self._folder, self._folder.names()
        leaving = there if self.mode == "overwrite" else []
        names = [file.name for file in staged]
        if staged:
            held = folder.schema_of(there[0]) if there and self.mode != "overwrite" else None
            schemas = [pa.ipc.read_schema(pa.py_buffer(file.schema)) for file in staged]
            wanted = folder.one_schema(schemas, held)
            kept = [np.ones(file.rows, np.bool_) for file in staged]
            if self._id is not None:
                keys = [file.keys for file in staged if file.keys is not None]
                kept = newest(keys)
                again, leaving = folder.without(self._run, there, self._id, np.unique(np.concatenate(keys)))
                names += again
            for file, rows, schema in zip(staged, kept, schemas, strict=True):
                if not rows.all() or not schema.equals(wanted):
                    folder.stage_again(self._run, file.name, rows, wanted)
        commit(self.filesystem, self.folder, self._run, names, leaving)

    @contextmanager
    def _reporting(self, what: str) -> Iterator[None]:
        """Turn errors of the file system, and libraries' own ones, into SinkErrors."""
        try:
            yield
        except (SinkError, ConfigError):
            raise
        except Exception as error:
            raise SinkError(f"{self.place} {what}: {type(error).__name__}: {error}") from None


def _checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(metadata, Mapping):
        raise ConfigError(f"ParquetDatasink: metadata is texts by key, not {shown(metadata)}")
    for key, text in metadata.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise ConfigError(f"ParquetDatasink: metadata is texts by key, and {shown(key)} has {shown(text)}")
    if METADATA_KEY.decode() in metadata:
        raise ConfigError(f"ParquetDatasink: the key {METADATA_KEY.decode()!r} of metadata is that of a job's files")
    return dict(metadata)


def _put_together(tables: list[pa.Table]) -> pa.Table:
    """Join tables whose columns may be of types that go together, as one of nulls and one of texts do."""
    return pa.concat_tables(tables, promote_options="permissive")
