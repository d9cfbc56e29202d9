"""The whole Ray job: its speed against the embedders alone, and its memory."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import BM25, MINILM, Documents, Repeats, console, minilm_folder, show, stdlib_texts
from embedders import SparseTextEmbedding, TextEmbedding
from embedders.base import Embedder
from pipelines import EmbeddingPipeline


def pipeline(documents: Documents = 2048, repeats: Repeats = 3) -> None:
    """The whole Ray job to Parquet against its embedders called directly in one process."""
    folder, texts = minilm_folder(), stdlib_texts(documents)
    threads = os.cpu_count() or 1
    embedders: list[Embedder] = [
        TextEmbedding(MINILM, specific_model_path=str(folder), threads=threads, cuda=False),
        SparseTextEmbedding(BM25),
    ]
    startup: list[float] = []
    job_seconds: list[float] = []
    direct: list[float] = []
    for _ in range(repeats):
        started = time.perf_counter()
        for embedder in embedders:
            embedder.embed_arrow(texts)
        direct.append(time.perf_counter() - started)
        with tempfile.TemporaryDirectory() as place:
            corpus = write_jsonl(texts, Path(place) / "corpus.jsonl")
            report = EmbeddingPipeline.from_config(parquet_job(corpus, Path(place), folder)).run(
                console=Console(quiet=True)
            )
        startup.append(report.startup_seconds)
        job_seconds.append(report.seconds - report.startup_seconds)
    seconds = {
        "embedders called directly": statistics.median(direct),
        "Ray job to Parquet": statistics.median(job_seconds),
    }
    title = f"pipeline, dense + BM25, {documents} docstrings; start-up took {statistics.median(startup):.1f} s more"
    show(title, seconds, documents, "documents/s", "Ray job to Parquet")


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
            started = time.perf_counter()
            command = [sys.executable, "jobs/embed_corpus.py", "--config", str(config), "--log-level", "ERROR"]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
                peak = watch_memory(child)
            if child.returncode:
                raise SystemExit(f"the job of {size:,} documents ended with exit code {child.returncode}")
        table.add_row(f"{size:,}", f"{peak / 1e6:,.0f}", f"{time.perf_counter() - started:,.0f}")
    console.print(table)


def watch_memory(child: subprocess.Popen[bytes]) -> int:
    """Peak of the summed proportional set sizes of a process and all it started, in bytes."""
    peak, parent = 0, psutil.Process(child.pid)
    while child.poll() is None:
        total = 0
        try:
            for process in (parent, *parent.children(recursive=True)):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
        except psutil.NoSuchProcess:
            break
        peak = max(peak, total)
        time.sleep(0.5)
    return peak
