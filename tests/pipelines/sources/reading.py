"""Reads sources as the job does, and writes small ones."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, settings

from pipelines.config.source import SourceConfig
from pipelines.rows import SOURCE_SCHEMA
from pipelines.sources import Duplicates, SplitScan, find_duplicates, plan_source, read_split, scan_split
from pipelines.sources.id_comparison import IdKeys, compare
from pipelines.sources.presence import Presence, find_presence

FILES_OF_A_TEST = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path: Path | str | list[str], *, block_rows: int = 1000, **config: Any) -> list[dict[str, Any]]:
    source = SourceConfig(path=path if isinstance(path, list) else str(path), **config)
    tables = [
        table for split in plan_source(source).splits for table in read_split(split, source, block_rows=block_rows)
    ]
    assert all(table.schema.equals(SOURCE_SCHEMA) for table in tables)
    return [row for table in tables for row in table.to_pylist()]


def read_once(path: Path | str | list[str], **config: Any) -> list[dict[str, Any]]:
    source = SourceConfig(path=path if isinstance(path, list) else str(path), **config)
    found = duplicates_of([scan_split(split, source) for split in plan_source(source).splits])
    return [
        row
        for number, split in enumerate(found.splits)
        for table in read_split(split, source, block_rows=3, repeats=found.of_split(number))
        for row in table.to_pylist()
    ]


def duplicates_of(scans: Sequence[SplitScan]) -> Duplicates:
    """Find rows that repeat an id, compared in one part."""
    keys = [IdKeys.of(number, scan) for number, scan in enumerate(scans)]
    return find_duplicates(scans, [compare(keys, keep_keys=False)])


def presence_of(scans: Sequence[SplitScan], *, keep_keys: bool) -> Presence:
    """Find which documents there are, by ids compared in one part."""
    keys = [IdKeys.of(number, scan) for number, scan in enumerate(scans)]
    return find_presence(scans, [compare(keys, keep_keys=keep_keys)])


def write_lines(path: Path, rows: Iterable[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def write_ipc(
    path: Path,
    columns: dict[str, Any] | pa.Table,
    *,
    stream: bool = False,
    compression: str | None = None,
    max_chunksize: int | None = None,
) -> Path:
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as file, make(file, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=max_chunksize)
    return path


def messages(rows: list[dict[str, Any]]) -> list[str | None]:
    return [row["error"] and row["error"]["message"] for row in rows]


def _zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


PACKERS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "zst": _zstd}
