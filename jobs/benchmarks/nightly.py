"""A nightly run: all documents first, then the day after, when a few changed and a few went."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.at_server import Url, at_server
from benchmarks.load import fresh
from benchmarks.measuring import BM25, MINILM, console, minilm_folder, stdlib_texts
from pipelines import EmbeddingPipeline

COUNTS = ("embedded", "payload_only", "deleted", "skipped", "written", "dead")


def nightly(
    documents: Annotated[int, typer.Option(min=100, help="Documents of the first run.")] = 100_000,
    dense: Annotated[bool, typer.Option(help="Embed with MiniLM as well.")] = False,
    engine: Annotated[str, typer.Option(help="compute.engine of both runs: ray or local.")] = "ray",
    url: Url = None,
) -> None:
    """A first run; then one with 1% changed text, 1% changed payload and 1% deleted."""
    table = Table(title=f"nightly, {documents:,} documents, BM25{' + MiniLM' if dense else ''}", title_justify="left")
    for column in ("", "seconds", *COUNTS):
        table.add_column(column, justify="right" if column else "left")
    with at_server(url) as server, fresh(server.url), tempfile.TemporaryDirectory() as folder:
        job = nightly_job(Path(folder), server.url, dense=dense, engine=engine)
        for name, day in (("first run", 0), ("the night after", 1)):
            write_day(Path(folder) / "corpus.jsonl", documents, day)
            report = EmbeddingPipeline.from_config(job).run(console=Console(quiet=True))
            table.add_row(name, f"{report.seconds:.1f}", *(f"{report.rows.get(key, 0):,}" for key in COUNTS))
    console.print(table)


def write_day(path: Path, count: int, day: int) -> None:
    """Write the documents of the first day (0) or of the second (1)."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in day_rows(count, day))


def day_rows(count: int, day: int) -> Iterator[dict[str, Any]]:
    """Docstrings, numbered so that no two are alike; on the second day three of a hundred differ."""
    texts = stdlib_texts()
    for number in range(count):
        change = number % 100 if day else None
        if change == 2:
            continue
        text = f"{texts[number % len(texts)]} ({number})"
        yield {
            "id": f"doc-{number}",
            "text": f"{text} changed" if change == 0 else text,
            "price": 2 if change == 1 else 1,
        }


def nightly_job(folder: Path, url: str, *, dense: bool, engine: str) -> dict[str, Any]:
    """The job of both nights."""
    embeddings = [{"name": "bm25", "model": BM25}]
    if dense:
        embeddings.insert(0, {"name": "dense", "model": MINILM, "path": str(minilm_folder().resolve())})
    return {
        "source": {"path": str(folder / "corpus.jsonl"), "id": "id"},
        "embeddings": embeddings,
        "sink": [{"type": "qdrant", "url": url, "collection": "benchmark", "deletions": "sweep"}],
        "compute": {"engine": engine},
        "report": str(folder / "report.json"),
    }
