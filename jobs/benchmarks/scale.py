"""Whole jobs over ever more rows: what a row costs, what memory grows with, and where the lines bend."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from benchmarks.family_models import static_folder
from benchmarks.growing_corpus import write_corpus
from benchmarks.measuring import BM25, console, job_command
from benchmarks.process_tree import TreeUsage, run_watched

# The card of a real model, whose folder here holds a synthetic one.
STATIC, STATIC_DIM = "minishlab/potion-base-8M", 64
TITLES = {
    "bm25": "BM25",
    "static": f"static, synthetic: MiniLM's tokenizer, random token vectors, {STATIC_DIM}-d",
}
# What a further row costs may differ so much from the step before, and the line still counts as straight.
STRAIGHT = 0.15
READ, SKIP, WRITE = "read", "skip", "write parquet"


@dataclass(frozen=True)
class Measured:
    """One job: its rows, what its processes used, its report, and the files that it left, with their bytes."""

    rows: int
    usage: TreeUsage
    report: dict[str, Any]
    files: int
    bytes: int

    @property
    def stages(self) -> dict[str, float]:
        """Seconds of the scan and of each stage, summed over workers."""
        seconds = {name: figures.get("seconds", 0.0) for name, figures in self.report["stages"].items()}
        (embedding,) = self.report["models"]
        return {
            "scan": self.report["startup"].get("scan", 0.0),
            "read": seconds[READ],
            "skip": seconds[SKIP],
            "embed": seconds[embedding],
            "write": seconds[WRITE],
        }


def scale(
    rows: Annotated[list[int] | None, typer.Option(min=100, help="Rows of a job; several times for several.")] = None,
    embedding: Annotated[list[str] | None, typer.Option(help="bm25, static; both unless given.")] = None,
    engine: Annotated[str, typer.Option(help="compute.engine: local or ray.")] = "local",
    words: Annotated[int, typer.Option(min=6, help="Words of a text on average.")] = 12,
    block_rows: Annotated[int, typer.Option(min=1, help="compute.block_rows.")] = 1024,
    folder: Annotated[Path | None, typer.Option(help="Where files lie meanwhile; a million rows take 1 GB.")] = None,
    unique: Annotated[bool, typer.Option(help="source.ids_are_unique: no scan.")] = False,
) -> None:
    """BM25 and static embeddings of growing corpora, Parquet to Parquet, each job in processes of its own."""
    chosen = embedding or list(TITLES)
    if unknown := set(chosen) - set(TITLES):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: one of {', '.join(TITLES)}")
    found: dict[str, list[Measured]] = {name: [] for name in chosen}
    for count in sorted(rows or [10_000, 100_000, 1_000_000]):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            write_corpus(Path(place) / "corpus", count, words)
            for name in chosen:
                compute = {"engine": engine, "block_rows": block_rows}
                found[name].append(_measure(Path(place), count, name, compute, unique=unique))
                _tell(name, found[name][-1])
    for name, its in found.items():
        about = f"{TITLES[name]}; {words} words a text, engine {engine}, {block_rows:,} rows a block"
        _show_jobs(about, its)
        _show_stages(its, engine)
        if len(its) > 1:
            _show_further(its)


def _measure(place: Path, rows: int, embedding: str, compute: dict[str, Any], *, unique: bool) -> Measured:
    models = {
        "bm25": {"name": "bm25", "model": BM25},
        "static": {"name": "static", "model": STATIC, "path": str(static_folder(STATIC_DIM).resolve())},
    }
    with tempfile.TemporaryDirectory(dir=place) as work:
        out, report = Path(work) / "out", Path(work) / "report.json"
        job = {
            "source": {"path": str(place / "corpus"), "id": "id", "ids_are_unique": unique},
            "embeddings": [models[embedding]],
            "sink": {"type": "parquet", "path": str(out)},
            "compute": compute,
            "report": str(report),
        }
        config = Path(work) / "job.json"
        config.write_text(json.dumps(job), encoding="utf-8")
        env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        usage = run_watched([*job_command(config), "--log-level", "ERROR"], env)
        told = json.loads(report.read_text(encoding="utf-8"))
        if told["rows"]["written"] != rows or told["sinks"][0]["points"] != rows:
            raise SystemExit(f"the job wrote {told['rows']['written']:,} of {rows:,} rows")
        files = list(out.glob("*.parquet"))
        return Measured(rows, usage, told, len(files), sum(file.stat().st_size for file in files))


def _tell(name: str, job: Measured) -> None:
    """Say at once what came out: a later job may take long, or fail."""
    usage = job.usage
    console.print(
        f"{name}, {job.rows:,} rows: {usage.seconds:,.1f} s, {usage.cpu_seconds:,.1f} CPU s, "
        f"driver {usage.first_peak / 1e6:,.0f} MB, all {usage.peak / 1e6:,.0f} MB, {job.files:,} files"
    )


def _show_jobs(title: str, jobs: Sequence[Measured]) -> None:
    values: dict[str, Callable[[Measured], str]] = {
        "rows": lambda job: f"{job.rows:,}",
        "seconds": lambda job: f"{job.usage.seconds:,.1f}",
        "rows/s": lambda job: f"{job.rows / job.usage.seconds:,.0f}",
        "CPU us/row": lambda job: f"{1e6 * job.usage.cpu_seconds / job.rows:,.1f}",
        "driver MB": lambda job: f"{job.usage.first_peak / 1e6:,.0f}",
        "all MB": lambda job: f"{job.usage.peak / 1e6:,.0f}",
        "files": lambda job: f"{job.files:,}",
        "bytes/row": lambda job: f"{job.bytes / job.rows:,.0f}",
    }
    _print(title, list(values), [[show(job) for show in values.values()] for job in jobs])


def _show_stages(jobs: Sequence[Measured], engine: str) -> None:
    """Microseconds a row of the scan and each stage; what is neither can be told of one process alone."""
    rows = []
    for job in jobs:
        cells = {name: seconds / job.rows for name, seconds in job.stages.items()}
        if engine == "local":
            cells["rest"] = (job.report["seconds"] - sum(job.stages.values())) / job.rows
        rows.append([f"{job.rows:,}", *(f"{1e6 * seconds:,.2f}" for seconds in cells.values())])
    rest = ["rest"] if engine == "local" else []
    _print("us a row, summed over workers", ["rows", *jobs[0].stages, *rest], rows)


def _show_further(jobs: Sequence[Measured]) -> None:
    rows, before = [], 0.0
    for few, many in pairwise(jobs):
        further = many.rows - few.rows
        cost = (many.usage.cpu_seconds - few.usage.cpu_seconds) / further
        rows.append(
            [
                f"{few.rows:,} to {many.rows:,}",
                f"{1e6 * (many.usage.seconds - few.usage.seconds) / further:,.1f}",
                f"{1e6 * cost:,.1f}",
                f"{(many.usage.first_peak - few.usage.first_peak) / further:,.0f}",
                f"{(many.usage.peak - few.usage.peak) / further:,.0f}",
                _bend(before, cost),
            ]
        )
        before = cost
    titles = ["", "us/row", "CPU us/row", "driver bytes/row", "all bytes/row", "line"]
    _print("what a further row costs", titles, rows)


def _bend(before: float, cost: float) -> str:
    if not before:
        return ""
    ratio = cost / before
    return f"straight ({ratio:.2f})" if abs(ratio - 1) <= STRAIGHT else f"bends ({ratio:.2f})"


def _print(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
