"""Reading a table: file to identified rows, on one core, beside pyarrow's own readers and the reading row by row."""

from __future__ import annotations

import csv
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from unittest import mock

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import typer
from rich.table import Table

from benchmarks.measuring import BM25, Repeats, console, stdlib_texts, take_turns
from pipelines.config.job import JobConfig
from pipelines.embed.documents import read_rows
from pipelines.sources import scan_split
from pipelines.sources.glance import glance_at_split
from pipelines.sources.plan import plan_source

MOST_CHARACTERS = 400
OURS, ROWS, ARROW, SCAN = "fleetembed, columns", "fleetembed, row by row", "pyarrow alone", "fleetembed, scan of ids"


def read_tables(
    rows: Annotated[int, typer.Option(min=1000, help="Rows, of real texts in turn.")] = 100_000, repeats: Repeats = 5
) -> None:
    """Parquet, JSON lines and CSV with id, text and two columns of payload, read to identified rows."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pa.set_cpu_count(1)
    table = Table(title=f"read, {rows:,} rows, CPU time of one core", title_justify="left")
    for column in ("", *(kind.name for kind in _FORMATS)):
        table.add_column(column, justify="right" if column else "left")
    with tempfile.TemporaryDirectory() as folder:
        documents = list(_documents(rows))
        found = [_measure(Path(folder), documents, kind, repeats) for kind in _FORMATS]
    for name in (OURS, ROWS, ARROW, SCAN):
        table.add_row(name, *(f"{rows / seconds[name]:,.0f} rows/s" for seconds in found))
    console.print(table)


def _documents(rows: int) -> Iterator[dict[str, Any]]:
    texts = [text[:MOST_CHARACTERS] for text in stdlib_texts()]
    for number in range(rows):
        text = texts[number % len(texts)]
        yield {"id": f"doc-{number}", "text": text, "title": text.partition("\n")[0][:40], "year": 1990 + number % 35}


class _Kind(NamedTuple):
    name: str
    write: Callable[[Path, list[dict[str, Any]]], None]
    read_alone: Callable[[Path], pa.Table]


def _measure(folder: Path, documents: list[dict[str, Any]], kind: _Kind, repeats: int) -> dict[str, float]:
    path = folder / f"rows.{kind.name}"
    kind.write(path, documents)
    job = JobConfig.model_validate(
        {
            "source": {"path": str(path), "id": "id"},
            "embeddings": [{"name": "bm25", "model": BM25}],
            "sink": [{"type": "parquet", "path": "unused"}],
        }
    )
    splits = plan_source(job.source).splits

    def ours() -> None:
        _check(len(documents), (table.num_rows for _, table in read_rows(((one, None) for one in splits), job)))

    def row_by_row() -> None:
        with without_columns():
            ours()

    def scan() -> None:
        _check(
            len(documents), ((glance_at_split(one, job.source) or scan_split(one, job.source)).rows for one in splits)
        )

    contestants = {OURS: ours, ROWS: row_by_row, ARROW: lambda: kind.read_alone(path), SCAN: scan}
    return take_turns(contestants, repeats, time.process_time)


def without_columns() -> AbstractContextManager[Any]:
    """Have all rows read one by one, as those are that have something odd."""
    return mock.patch("pipelines.sources.read.parse_columns", lambda *_: None)


def _check(rows: int, counts: Iterable[int]) -> None:
    if (found := sum(counts)) != rows:
        raise SystemExit(f"{found:,} rows were read of {rows:,}")


def _write_parquet(path: Path, documents: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(documents), path)


def _write_jsonl(path: Path, documents: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in documents), encoding="utf-8")


def _write_csv(path: Path, documents: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(documents[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(documents)


def _read_csv(path: Path) -> pa.Table:
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    return pyarrow.csv.read_csv(path, pyarrow.csv.ReadOptions(use_threads=False), parse)


def _read_json(path: Path) -> pa.Table:
    return pyarrow.json.read_json(path, pyarrow.json.ReadOptions(use_threads=False))


def _read_parquet(path: Path) -> pa.Table:
    return pq.read_table(path, use_threads=False)


_FORMATS = (
    _Kind("parquet", _write_parquet, _read_parquet),
    _Kind("jsonl", _write_jsonl, _read_json),
    _Kind("csv", _write_csv, _read_csv),
)
