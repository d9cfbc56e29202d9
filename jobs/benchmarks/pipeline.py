"""The whole job: its speed against the embedders alone, and its memory."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from benchmarks.measuring import BM25, MINILM, Documents, Repeats, console, job_command, minilm_folder, stdlib_texts
from benchmarks.process_tree import run_watched
from embedders import SparseTextEmbedding, TextEmbedding
from embedders.base import Embedder


@dataclass
class Turns:
    """Seconds of a job's turns: of the command as a whole, and of its start-up, until a row was at a model.

    ``embedding`` is the part of the time after it that the embeddings took, of one process: what is left is waiting.
    """

    whole: list[float] = field(default_factory=list)
    startup: list[float] = field(default_factory=list)
    embedding: list[float] = field(default_factory=list)


def pipeline(documents: Documents = 4096, repeats: Repeats = 3) -> None:
    """Whole commands to Parquet, dense + BM25, by both engines, against the embedders called in one process."""
    folder, texts = minilm_folder().resolve(), stdlib_texts(documents)
    threads = os.cpu_count() or 1
    embedders: list[Embedder] = [
        TextEmbedding(MINILM, specific_model_path=str(folder), threads=threads, cuda=False),
        SparseTextEmbedding(BM25),
    ]
    for embedder in embedders:
        embedder.load()
    direct: list[float] = []
    jobs: dict[str, Turns] = {"local": Turns(), "ray": Turns()}
    for _ in range(repeats):
        started = time.perf_counter()
        for embedder in embedders:
            embedder.embed_arrow(texts)
        direct.append(time.perf_counter() - started)
        for engine, turns in jobs.items():
            _take_turn(texts, folder, engine, turns)
    _show_against_direct(len(texts), direct, jobs)


def _take_turn(texts: Sequence[str], model: Path, engine: str, turns: Turns) -> None:
    """Run a job in a process of its own, and note what it took."""
    alone = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with tempfile.TemporaryDirectory() as place:
        job = parquet_job(write_jsonl(texts, Path(place) / "corpus.jsonl"), Path(place), model)
        job["compute"]["engine"] = engine
        config = Path(place) / "job.json"
        config.write_text(json.dumps(job), encoding="utf-8")
        started = time.perf_counter()
        done = subprocess.run(job_command(config), env=alone, capture_output=True, text=True)
        turns.whole.append(time.perf_counter() - started)
        if done.returncode:
            raise SystemExit(f"the job ended with {done.returncode}: {done.stderr[-2000:]}")
        report = json.loads((Path(place) / "report.json").read_text(encoding="utf-8"))
        if report["rows"]["written"] != len(texts):
            raise SystemExit(f"the job wrote {report['rows']['written']:,} of {len(texts):,} rows")
        turns.startup.append(report["startup_seconds"])
        embedding = sum(report["stages"][one["name"]]["seconds"] for one in job["embeddings"])
        turns.embedding.append(embedding / (turns.whole[-1] - turns.startup[-1]))


def _show_against_direct(documents: int, direct: Sequence[float], jobs: Mapping[str, Turns]) -> None:
    table = Table(title=f"pipeline, dense + BM25, {documents:,} docstrings, to Parquet", title_justify="left")
    for column in ("", "seconds", "start-up", "documents/s", "of direct", "with start-up", "embedding"):
        table.add_column(column, justify="right" if column else "left")
    alone = statistics.median(direct)
    table.add_row("embedders called directly", f"{alone:.1f}", "", f"{documents / alone:,.0f}", "", "", "")
    for engine, turns in jobs.items():
        # Of each turn against the direct one beside it: a slow minute of the machine hits both.
        apart = [one / (whole - start) for one, whole, start in zip(direct, turns.whole, turns.startup, strict=True)]
        with_it = [one / whole for one, whole in zip(direct, turns.whole, strict=True)]
        whole = statistics.median(turns.whole)
        table.add_row(
            f"job, engine: {engine}",
            f"{whole:.1f}",
            f"{statistics.median(turns.startup):.1f}",
            f"{documents / whole:,.0f}",
            f"{statistics.median(apart):.2f}",
            f"{statistics.median(with_it):.2f}",
            f"{statistics.median(turns.embedding):.0%}",
        )
    console.print(table)


def write_jsonl(texts: Sequence[str], path: Path) -> Path:
    """Write texts as JSON lines with an id."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"id": f"doc-{n}", "text": text}) + "\n" for n, text in enumerate(texts))
    return path


def parquet_job(corpus: Path, place: Path, model: Path) -> dict[str, Any]:
    """A job that embeds a corpus, dense and BM25, to Parquet."""
    return {
        "source": {"path": str(corpus), "id": "id"},
        "embeddings": [
            {"name": "dense", "model": MINILM, "path": str(model)},
            {"name": "bm25", "model": BM25},
        ],
        "sink": [{"type": "parquet", "path": str(place / "out")}],
        "compute": {"engine": "ray"},
        "report": str(place / "report.json"),
    }


def memory(
    texts: Annotated[Path, typer.Argument(help="JSON lines (.jsonl or .jsonl.gz) with a text column.")],
    sizes: Annotated[list[int] | None, typer.Option("--size", help="Documents of each run.")] = None,
) -> None:
    """Peak memory of the whole Ray job, all processes together, at several corpus sizes."""
    table = Table(title="peak memory of the job, all its processes (proportional set size)", title_justify="left")
    for column in ("documents", "peak MB", "seconds"):
        table.add_column(column, justify="right")
    for size in sizes or [10_000, 100_000]:
        with tempfile.TemporaryDirectory() as place:
            job = parquet_job(texts, Path(place), minilm_folder().resolve())
            job["source"] |= {"path": str(texts.resolve()), "limit": size}
            config = Path(place) / "job.json"
            config.write_text(json.dumps(job), encoding="utf-8")
            usage = run_watched([*job_command(config), "--log-level", "ERROR"], os.environ)
        table.add_row(f"{size:,}", f"{usage.peak / 1e6:,.0f}", f"{usage.seconds:,.0f}")
    console.print(table)
