"""A folder of Parquet files as a datasink settles it: one schema for all, and each id in one row."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from xxhash import xxh3_64_hexdigest

from pipelines.errors import SinkError
from pipelines.hashing import xxh3_64
from pipelines.ray_data.parquet_commit import stage, staged_path
from pipelines.ray_data.points import texts_of
from pipelines.sinks.parquet.files import side_by_side
from pipelines.sinks.told import told_provenance

Keys = npt.NDArray[np.uint64]

# So many characters of a file's name are in that of the file that takes its place.
LONGEST_NAME = 80


@dataclass(frozen=True)
class ParquetFolder:
    """A folder, and the level of zstd that its files are written with; ``place`` is it for people to read."""

    filesystem: fs.FileSystem
    path: str
    place: str
    level: int

    def names(self) -> list[str]:
        """Names of its Parquet files, without those of folders in it."""
        found = self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return sorted(info.base_name for info in found if info.is_file and info.base_name.endswith(".parquet"))

    def schema_of(self, name: str) -> pa.Schema:
        """Read a file's schema."""
        try:
            schema: pa.Schema = pq.read_schema(f"{self.path}/{name}", filesystem=self.filesystem)
        except pa.ArrowException as error:
            raise SinkError(
                f"{self.place}: {name} in it is no Parquet file ({str(error)[:200]}); remove it, or choose another path"
            ) from None
        return schema

    def refuse_of_a_job(self, names: Sequence[str]) -> None:
        """Raise SinkError for a folder with such files, where one is of a job's sink; what is damaged is none."""
        for name in names:
            with suppress(pa.ArrowException):
                schema = pq.read_schema(f"{self.path}/{name}", filesystem=self.filesystem)
                # What a dataset of `embed` tells, which other writers keep, lacks the fingerprint.
                if "fingerprint" in told_provenance(schema):
                    raise SinkError(
                        f"{self.place} is the folder of a fleetembed job's Parquet sink, whose files a datasink does "
                        "not add to or replace; choose another path"
                    )

    def stage(self, run: str, name: str, rows: pa.Table) -> None:
        """Write rows to a file that is not committed yet."""
        stream = pa.BufferOutputStream()
        flat = [field.name for field in rows.schema if not pa.types.is_nested(field.type)]
        pq.write_table(rows, stream, compression="zstd", compression_level=self.level, use_dictionary=flat)
        stage(self.filesystem, staged_path(self.path, run, name), stream.getvalue())

    def stage_again(self, run: str, name: str, kept: npt.NDArray[np.bool_], schema: pa.Schema) -> None:
        """Write a staged file anew, with some of its rows, and with the columns of a schema."""
        table = self._read(staged_path(self.path, run, name)).filter(pa.array(kept))
        columns = [
            table[field.name].cast(field.type)
            if field.name in table.column_names
            else pa.nulls(table.num_rows, field.type)
            for field in schema
        ]
        self.stage(run, name, pa.table(columns, schema=schema.with_metadata(table.schema.metadata)))

    def one_schema(self, schemas: Sequence[pa.Schema], held: pa.Schema | None) -> pa.Schema:
        """Find the schema that all files can have; raises SinkError where there is none, or ``held`` is another."""
        known = [*([] if held is None else [held]), *schemas]
        try:
            wanted = pa.unify_schemas([schema.remove_metadata() for schema in known], promote_options="permissive")
        except pa.ArrowException as error:
            raise SinkError(
                f"{self.place}: columns of one name have types that do not go together ({error}). Nothing is written; "
                "give the dataset's columns one type, or choose another path"
            ) from None
        if held is not None and not wanted.equals(held.remove_metadata()):
            raise SinkError(
                f"{self.place} does not fit: its columns are {_shown(held)}, and with the dataset's they would be "
                f"{_shown(wanted)}. Nothing is written; choose another path, or mode='overwrite'"
            )
        return wanted

    def without(self, run: str, names: Sequence[str], id: str, keys: Keys) -> tuple[list[str], list[str]]:
        """Stage those files that hold rows of these ``keys`` without them; returns their new names, and the old ones.

        A file of which no row stays has no new name.
        """

        def settle(name: str) -> tuple[str | None, str | None]:
            stays = ~np.isin(id_keys(self._read(f"{self.path}/{name}", [id])[id]), keys)
            if stays.all():
                return None, None
            if not stays.any():
                return None, name
            again = _kept_name(run, name)
            self.stage(run, again, self._read(f"{self.path}/{name}").filter(pa.array(stays)))
            return again, name

        done = side_by_side(settle, names)
        return [new for new, _ in done if new is not None], [old for _, old in done if old is not None]

    def _read(self, path: str, columns: list[str] | None = None) -> pa.Table:
        return pq.read_table(path, filesystem=self.filesystem, partitioning=None, columns=columns)


def id_keys(column: pa.ChunkedArray) -> Keys:
    """Hash ids to 64 bits, integers as their digits, so that 7 and "7" are one."""
    return xxh3_64(texts_of(column))


def newest(keys: list[Keys]) -> list[npt.NDArray[np.bool_]]:
    """Mark, of the rows that have one key, the last."""
    whole = np.concatenate(keys)
    _, last = np.unique(whole[::-1], return_index=True)
    marks = np.zeros(len(whole), np.bool_)
    marks[len(whole) - 1 - last] = True
    return np.split(marks, np.cumsum([len(some) for some in keys])[:-1])


def _kept_name(run: str, name: str) -> str:
    """Name the file that takes the place of another; of a long name, the hash tells it from others that end alike."""
    bare = name.removeprefix("kept-")
    if len(bare) > LONGEST_NAME:
        bare = f"{xxh3_64_hexdigest(name.encode())}-{bare[-LONGEST_NAME:]}"
    return f"kept-{run[:12]}-{bare}"


def _shown(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)
