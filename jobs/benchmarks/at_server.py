"""What the benchmarks of Qdrant share: a server, synthetic points, and the seconds and CPU time of the client."""

from __future__ import annotations

import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import psutil
import pyarrow as pa
import typer
from rich.markup import escape
from rich.table import Table

from benchmarks.measuring import console, stdlib_texts
from embedders.arrow import (
    SPARSE_TYPE,
    dense_array,
    dense_type,
    multivector_array,
    multivector_type,
    sparse_array,
)
from embedders.base import VectorSpec
from pipelines.identity import identify
from pipelines.rows import CHUNK_SCHEMA
from pipelines.sinks.base import JobFacts

DIM = 384
Url = Annotated[str | None, typer.Option("--url", envvar="QDRANT_URL", help="A Qdrant server; else the test server.")]
Points = Annotated[int, typer.Option(min=1, help="Points of the collection.")]
DENSE = {"dense": VectorSpec("dense", dense_type(DIM), DIM)}
BOTH = {**DENSE, "bm25": VectorSpec("sparse", SPARSE_TYPE, idf=True)}
TOKEN_DIM, TOKENS = 128, 100
COLBERT = {"colbert": VectorSpec("multivector", multivector_type(TOKEN_DIM), TOKEN_DIM)}


class Address(NamedTuple):
    """Where a server is."""

    url: str
    grpc_port: int = 6334


@contextmanager
def at_server(url: str | None) -> Iterator[Address]:
    """A server: the one named, or the test server of this checkout as a process of its own."""
    if url:
        yield Address(url)
        return
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests.qdrant_server.process import QdrantTestServer

    console.print("no --url: against the test server, which is slow: the client's CPU time is what counts")
    with QdrantTestServer(grpc=True) as server:
        _not_ours.add(server.pid)
        yield Address(server.url, server.grpc_port or 0)


_not_ours: set[int] = set()


def cpu_seconds() -> float:
    """User and system time of this process and of all it started, without the server; ended children included."""
    own = psutil.Process()
    times = [own.cpu_times()]
    for child in own.children(recursive=True):
        if child.pid not in _not_ours:
            try:
                times.append(child.cpu_times())
            except psutil.Error:
                continue
    ended = os.times()
    return sum(spent.user + spent.system for spent in times) + ended.children_user + ended.children_system


@dataclass(frozen=True)
class Cost:
    """Medians of a contestant's turns, in seconds."""

    seconds: float
    cpu: float


class Stopwatch:
    """Measures the part of a turn that grows with the points: not the opening of clients, nor of a collection."""

    def __init__(self) -> None:
        self.taken = (0.0, 0.0)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure what is done inside."""
        started, before = time.perf_counter(), cpu_seconds()
        yield
        self.taken = (time.perf_counter() - started, cpu_seconds() - before)


def costs(contestants: Mapping[str, Callable[[Stopwatch], Any]], repeats: int) -> dict[str, Cost]:
    """Cost of each contestant; they take turns."""
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, run in contestants.items():
            gc.collect()
            watch = Stopwatch()
            run(watch)
            turns[name].append(watch.taken)
    return {name: Cost(*map(statistics.median, zip(*taken, strict=True))) for name, taken in turns.items()}


def show_costs(title: str, found: Mapping[str, Cost], points: int) -> None:
    """Print points a second, and the client's CPU time a point."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in ("seconds", "points/s", "client's CPU us a point"):
        table.add_column(column, justify="right")
    for name, cost in found.items():
        speed, cpu = points / cost.seconds, cost.cpu / points * 1e6
        table.add_row(escape(name), f"{cost.seconds:.2f}", f"{speed:,.0f}", f"{cpu:,.0f}")
    console.print(table)


def facts(vectors: dict[str, VectorSpec]) -> JobFacts:
    """A job that made the synthetic points."""
    return JobFacts("benchmark", "synthetic", vectors, models=dict.fromkeys(vectors, "synthetic"))


def synthetic_points(count: int, vectors: Mapping[str, VectorSpec]) -> pa.Table:
    """Real texts with synthetic vectors: unit vectors, and some 60 terms a text by Zipf's law."""
    texts, rng = stdlib_texts(), np.random.default_rng(0)
    table = document_rows(texts, range(count), "benchmark", lambda n: f'{{"n": {n}}}')
    if "dense" in vectors:
        table = table.append_column("dense", dense_array(_unit_vectors(rng, count, DIM)))
    if "colbert" in vectors:
        tokens = _unit_vectors(rng, count * TOKENS, TOKEN_DIM)
        table = table.append_column("colbert", multivector_array(np.arange(count + 1) * TOKENS, tokens))
    if "bm25" not in vectors:
        return table
    terms = [np.unique(np.minimum(rng.zipf(1.3, 90), 100_000)).astype(np.uint32) for _ in range(count)]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in terms])]).astype(np.int32)
    weights = rng.uniform(0.2, 2, int(offsets[-1])).astype(np.float32)
    return table.append_column("bm25", sparse_array(offsets, np.concatenate(terms), weights))


def document_rows(texts: Sequence[str], numbers: Sequence[int], corpus: str, payload: Callable[[int], str]) -> pa.Table:
    """Whole documents of some texts as a job has them before they are embedded; ``payload`` is JSON, by number."""
    rows = [
        {
            "document_id": f"d{n}",
            "text": texts[n % len(texts)],
            "payload": payload(n),
            "origin": f"synthetic:{n}",
            "chunk_no": 0,
            "chunk_start": 0,
            "chunk_end": len(texts[n % len(texts)]),
            "chunk_count": 1,
        }
        for n in numbers
    ]
    return identify(pa.Table.from_pylist(rows, schema=CHUNK_SCHEMA), corpus, chunked=False)


def _unit_vectors(rng: np.random.Generator, count: int, dim: int) -> npt.NDArray[np.float32]:
    vectors = rng.standard_normal((count, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors
