"""How the benchmarks measure: contestants take turns on the same files and texts, and medians count."""

from __future__ import annotations

import functools
import gc
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from embedders.export.packaged import export_packaged_minilm
from stdlib_corpus import collect_stdlib

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
BM25 = "Qdrant/bm25"

console = Console(width=110)
Repeats = Annotated[int, typer.Option(min=1, help="Turns each contestant takes.")]
Documents = Annotated[int, typer.Option(min=1, help="Documents, drawn at random but always the same.")]


def take_turns(
    contestants: Mapping[str, Callable[[], Any]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Median seconds of each contestant; they take turns, so that a slow minute of the machine hits all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, run in contestants.items():
            gc.collect()
            started = clock()
            run()
            seconds[name].append(clock() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def show(title: str, seconds: dict[str, float], units: float, unit: str, ours: str) -> None:
    """Print speeds, and how many times faster ``ours`` is than each of the others."""
    table = Table(title=title, title_justify="left")
    for column, justify in (("", "left"), ("seconds", "right"), (unit, "right"), ("fleetembed is", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for name, value in seconds.items():
        ratio = "" if name == ours else f"{value / seconds[ours]:.2f} x"
        table.add_row(escape(name), f"{value:.2f}", f"{units / value:,.0f}", ratio)
    console.print(table)


def stdlib_texts(count: int | None = None) -> list[str]:
    """Texts of the standard library's corpus, or a random sample that is always the same."""
    texts = list(_stdlib_corpus())
    return texts if count is None or count >= len(texts) else random.Random(0).sample(texts, count)


@functools.cache
def _stdlib_corpus() -> tuple[str, ...]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.jsonl"
        collect_stdlib(path)
        return tuple(json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines())


def minilm_folder() -> Path:
    """The exported MiniLM, made once and kept in build/."""
    folder = Path("build/all-MiniLM-L6-v2")
    if not (folder / "model.onnx").exists():
        export_packaged_minilm(folder)
    return folder


def job_command(config: Path) -> list[str]:
    """The command that runs a job in a process of its own."""
    return [sys.executable, "jobs/embed_corpus.py", "--config", str(config)]


def drain(vectors: Any) -> None:
    """Run a generator to its end."""
    for _ in vectors:
        pass
