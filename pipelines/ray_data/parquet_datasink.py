"""A datasink that writes a dataset to Parquet files which any reader takes, all of them at once in the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from ray.data.datasource import Datasink

from pipelines.config.section import expand_home
from pipelines.errors import ConfigError, SinkError, TooManyErrorsError
from pipelines.filesystem import open_filesystem
from pipelines.hashing import xxh3_64
from pipelines.ray_data.arrow_blocks import to_table
from pipelines.ray_data.columns import ERROR, is_of_errors, refuse_missing
from pipelines.ray_data.letters import Letters
from pipelines.ray_data.parquet_commit import commit, complete_others, discard, is_begun, stage, staging_of
from pipelines.ray_data.points import taken_errors, texts_of
from pipelines.ray_data.report import TaskFigures, WriteReport, add_up, refuse_too_many, told_of
from pipelines.rows import RowError, add_errors, is_dead
from pipelines.sinks.folder_mark import FolderMark
from pipelines.sinks.parquet.files import METADATA_KEY, side_by_side
from pipelines.urls import without_credentials

if TYPE_CHECKING:
    from ray.data._internal.execution.interfaces import TaskContext
    from ray.data.block import Block
    from ray.data.datasource import WriteResult

log = logging.getLogger("fleetembed")

Mode = Literal["append", "overwrite", "upsert", "error"]
FILE_BYTES = 256 << 20
Keys = npt.NDArray[np.uint64]


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
        path: str,
        *,
        mode: Mode = "append",
        id: str | None = None,
        dead_letters: str | None = None,
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
        if not path:
            raise ConfigError("ParquetDatasink: path is empty; name a folder or its URL")
        self.filesystem, folder = open_filesystem(expand_home(path))
        self.folder = folder.rstrip("/")
        self.place = without_credentials(path)
        self.mode: str = mode
        self.report = None
        self._id, self._level, self._max_error_rate = id, compression_level, max_error_rate
        self._metadata = dict(metadata or {})
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
            there = self._files()
            if there and self.mode == "error":
                raise SinkError(
                    f"{self.place} holds {len(there)} Parquet files already; choose another path, or mode='append', "
                    "'overwrite' or 'upsert'"
                )
            if there:
                self._refuse_of_a_job(there[0])
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

    def on_write_failed(self, error: Exception) -> None:
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
                "document_id": pa.nulls(table.num_rows, pa.string()) if name is None else texts_of(table[name]),
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
        stage(self.filesystem, f"{staging_of(self.folder, self._run)}/{name}", self._encoded(rows))
        keys = None if self._id is None else _keys(rows[self._id])
        return StagedFile(name, rows.num_rows, rows.schema.serialize().to_pybytes(), keys)

    def _encoded(self, rows: pa.Table) -> pa.Buffer:
        stream = pa.BufferOutputStream()
        flat = [field.name for field in rows.schema if not pa.types.is_nested(field.type)]
        pq.write_table(rows, stream, compression="zstd", compression_level=self._level, use_dictionary=flat)
        return stream.getvalue()

    def _commit(self, staged: list[StagedFile]) -> None:
        there = self._files()
        schemas = [pa.ipc.read_schema(pa.py_buffer(file.schema)) for file in staged]
        kept = [np.ones(file.rows, np.bool_) for file in staged]
        leaving: list[str] = there if self.mode == "overwrite" else []
        if there and staged and self.mode != "overwrite":
            schemas.insert(0, self._schema_of(there[0]))
        wanted = self._one_schema(schemas)
        names = [file.name for file in staged]
        if self.mode == "upsert" and staged:
            kept = _newest([file.keys for file in staged if file.keys is not None])
            again, leaving = self._without(there, np.unique(np.concatenate([file.keys for file in staged])))
            names += again
        for file, rows in zip(staged, kept, strict=True):
            if not rows.all() or not pa.ipc.read_schema(pa.py_buffer(file.schema)).equals(wanted):
                self._write_again(file.name, rows, wanted)
        commit(self.filesystem, self.folder, self._run, names, leaving)

    def _one_schema(self, schemas: list[pa.Schema]) -> pa.Schema | None:
        """Find the schema that all files can have; raises SinkError where there is none, or the folder's is another."""
        if not schemas:
            return None
        try:
            wanted = pa.unify_schemas([schema.remove_metadata() for schema in schemas], promote_options="permissive")
        except pa.ArrowException as error:
            raise SinkError(
                f"{self.place}: columns of one name have types that do not go together ({error}). Nothing is written; "
                "give the dataset's columns one type, or choose another path"
            ) from None
        first = schemas[0].remove_metadata()
        if self.mode in ("append", "upsert") and self._files() and not wanted.equals(first):
            raise SinkError(
                f"{self.place} does not fit: its columns are {_shown(first)}, and with the dataset's they would be "
                f"{_shown(wanted)}. Nothing is written; choose another path, or mode='overwrite'"
            )
        return wanted

    def _without(self, there: list[str], keys: Keys) -> tuple[list[str], list[str]]:
        """Stage the files that hold rows of these keys without them; returns their new names, and those that leave."""

        def settle(name: str) -> tuple[str | None, str | None]:
            path = f"{self.folder}/{name}"
            table = pq.read_table(path, filesystem=self.filesystem, partitioning=None, columns=[self._id])
            stays = ~np.isin(_keys(table[self._id]), keys)
            if stays.all():
                return None, None
            if not stays.any():
                return None, name
            rows = pq.read_table(path, filesystem=self.filesystem, partitioning=None).filter(pa.array(stays))
            again = f"kept-{self._run[:12]}-{name.removeprefix('kept-')[-80:]}"
            stage(self.filesystem, f"{staging_of(self.folder, self._run)}/{again}", self._encoded(rows))
            return again, name

        done = side_by_side(settle, there)
        return [new for new, _ in done if new is not None], [old for _, old in done if old is not None]

    def _write_again(self, name: str, rows: npt.NDArray[np.bool_], schema: pa.Schema | None) -> None:
        path = f"{staging_of(self.folder, self._run)}/{name}"
        table = pq.read_table(path, filesystem=self.filesystem, partitioning=None).filter(pa.array(rows))
        if schema is not None:
            told, nothing = table.schema.metadata, table.num_rows
            columns = [
                table[field.name].cast(field.type)
                if field.name in table.column_names
                else pa.nulls(nothing, field.type)
                for field in schema
            ]
            table = pa.table(columns, schema=schema.with_metadata(told))
        stage(self.filesystem, path, self._encoded(table))

    def _files(self) -> list[str]:
        found = self.filesystem.get_file_info(fs.FileSelector(self.folder, allow_not_found=True))
        return sorted(info.base_name for info in found if info.is_file and info.base_name.endswith(".parquet"))

    def _schema_of(self, name: str) -> pa.Schema:
        return pq.read_schema(f"{self.folder}/{name}", filesystem=self.filesystem)

    def _refuse_of_a_job(self, name: str) -> None:
        if METADATA_KEY in (self._schema_of(name).metadata or {}):
            raise SinkError(
                f"{self.place} is the folder of a fleetembed job's Parquet sink, whose files a datasink does not add "
                "to; choose another path"
            )

    @contextmanager
    def _reporting(self, what: str) -> Iterator[None]:
        """Turn errors of the file system, and libraries' own ones, into SinkErrors."""
        try:
            yield
        except (SinkError, ConfigError):
            raise
        except Exception as error:
            raise SinkError(f"{self.place} {what}: {type(error).__name__}: {error}") from None


def _keys(column: pa.ChunkedArray) -> Keys:
    """Hash ids to 64 bits, integers as their digits, so that 7 and "7" are one."""
    return xxh3_64(texts_of(column))


def _newest(keys: list[Keys]) -> list[npt.NDArray[np.bool_]]:
    """Mark, of the rows that have one key, the last."""
    whole = np.concatenate(keys)
    _, last = np.unique(whole[::-1], return_index=True)
    marks = np.zeros(len(whole), np.bool_)
    marks[len(whole) - 1 - last] = True
    return np.split(marks, np.cumsum([len(some) for some in keys])[:-1])


def _put_together(tables: list[pa.Table]) -> pa.Table:
    """Join tables whose columns may be of types that go together, as one of nulls and one of texts do."""
    return pa.concat_tables(tables, promote_options="permissive")


def _shown(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)
