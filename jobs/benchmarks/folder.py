"""A collection in a folder: loading, its index, memory, reopening and searches, by either embedded engine."""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import psutil
import pyarrow as pa
import typer
from qdrant_client import models
from rich.table import Table

from benchmarks.at_server import DENSE, cpu_seconds, document_rows, facts
from benchmarks.measuring import MINILM, console, minilm_folder, stdlib_texts
from embedders import TextEmbedding
from embedders.arrow import dense_array
from pipelines.sinks.factory import make_sink
from pipelines.sinks.qdrant.client import open_folder
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.folder_engine import Engine

ROWS = 4096
# The engine local compares a query with every point, and keeps all of them in memory.
MOST_LOCAL = 20_000
TOP, QUERIES = 10, 200
# Docstrings that are embedded; characters of each that are kept, with the payload.
TEXTS, CHARACTERS = 4096, 420
# How far a point is moved from a docstring's vector, along the difference of two others'.
MOVED = 0.4
NAME = "benchmark"
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Phase:
    """What a process of its own took: seconds, CPU seconds, and bytes at the most, its own and of mapped files."""

    seconds: float
    cpu: float
    own: int
    mapped: int


def folder(
    points: Annotated[list[int] | None, typer.Option("--points", min=1, help="Points; may be given again.")] = None,
    path: Annotated[Path | None, typer.Option(help="New folder, which stays; else a temporary one.")] = None,
    quantization: Annotated[str | None, typer.Option(help="int8, binary, ... as in a job.")] = None,
) -> None:
    """Points of 384 numbers into a folder, and searches there; the engine local up to 20,000 points alone.

    The vectors are MiniLM's of docstrings, each moved along the difference of two others, so that points are as
    different as texts are; queries are made in the same way, of other docstrings.
    """
    base = docstring_vectors()
    console.print(f"{os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.1f}")
    table = Table(title="a folder: dense vectors of 384 numbers, texts, payload", title_justify="left")
    table.add_column("")
    found: list[dict[str, str]] = []
    for count in points or [20_000]:
        for engine in ("edge", "local") if count <= MOST_LOCAL else ("edge",):
            table.add_column(f"{engine}, {count:,}", justify="right")
            with tempfile.TemporaryDirectory() as temporary:
                place = Path(temporary) if path is None else path / f"{engine}-{count}"
                found.append(measured(place, engine, count, base, quantization))
            console.print(found[-1])
    for row in found[0]:
        table.add_row(row, *(one.get(row, "") for one in found))
    console.print(table)


def measured(place: Path, engine: Engine, count: int, base: Vectors, quantization: str | None) -> dict[str, str]:
    """Fill a folder and search it, in processes of their own; returns what is told of it, by row of the table."""
    job = QdrantSinkConfig(
        type="qdrant", collection=NAME, path=str(place / "folder"), engine=engine, quantization=quantization
    )
    load, index = in_process(fill, job, count, base)
    told = {
        "loaded, points/s": f"{count / load.seconds:,.0f}",
        "CPU us a point": f"{load.cpu / count * 1e6:,.0f}",
        "loading: own memory, MB": f"{load.own / 1e6:,.0f}",
        "loading: mapped files, MB": f"{load.mapped / 1e6:,.0f}",
        "closed with its index, s": f"{index.seconds:,.1f}",
        "index: CPU s": f"{index.cpu:,.1f}",
        "index: own memory, MB": f"{index.own / 1e6:,.0f}",
        "index: mapped files, MB": f"{index.mapped / 1e6:,.0f}",
        "on the disk, MB": f"{disk_bytes(place) / 1e6:,.0f}",
    }
    queries = query_vectors(base)
    best = nearest(base, count, queries)
    for kind in ("cold", "warm"):
        if kind == "cold":
            forget(place)
        opened, first, found, own = in_process(search, job, queries, kind == "cold")
        told |= {f"{kind}: opened and counted, s": f"{opened:.2f}", f"{kind}: first search, ms": f"{first * 1e3:.1f}"}
        for title, (ms, hits) in found.items():
            told[f"{kind}: search{title}, ms (median)"] = f"{ms * 1e3:.2f}"
            shared = [len(set(one) & set(other)) for one, other in zip(hits, best, strict=True)]
            told[f"{kind}: recall@{TOP}{title}"] = f"{sum(shared) / (TOP * len(shared)):.3f}"
        told[f"{kind}: own memory, MB"] = f"{own / 1e6:,.0f}"
    return told


def fill(job: QdrantSinkConfig, count: int, base: Vectors) -> tuple[Phase, Phase]:
    """Write all points as a job does, and end it, which builds the index."""
    texts = [text[:CHARACTERS] for text in stdlib_texts(TEXTS)]
    sink = make_sink(job)

    making = [0.0, 0.0]

    def write() -> None:
        sink.open(facts(DENSE))
        with closing(sink.connect()) as writer:
            for start in range(0, count, ROWS):
                clocks = time.perf_counter(), time.process_time()
                table = rows(base, texts, start, min(start + ROWS, count))
                making[0] += time.perf_counter() - clocks[0]
                making[1] += time.process_time() - clocks[1]
                if rejected := writer.write(table).rejected:
                    raise SystemExit(f"the folder refused {len(rejected)} points")

    load = watched(write)
    console.print(
        f"{count:,} points loaded in {load.seconds:,.1f} s, {load.cpu:,.1f} CPU s, {load.own / 1e6:,.0f} MB of memory; "
        "the index is built now"
    )
    # What making the rows takes is not the folder's.
    load = replace(load, seconds=load.seconds - making[0], cpu=load.cpu - making[1])
    end: dict[str, Any] = {}
    index = watched(lambda: end.update(sink.finish(completed=True)))
    console.print(f"built in {index.seconds:,.1f} s, {index.cpu:,.1f} CPU s")
    if end["points"] != count or "status" in end:
        raise SystemExit(f"the folder is not what it is to be: {end}")
    return load, index


def search(job: QdrantSinkConfig, queries: Vectors, cold: bool) -> tuple[float, float, dict[str, Any], int]:
    """Open the folder and search it: seconds to open and count, of the first search, and by settings; and memory."""
    started = time.perf_counter()
    client = open_folder(str(job.path), job.engine)
    client.count(NAME)
    opened = time.perf_counter() - started

    def asked(query: Vectors, **params: Any) -> tuple[float, list[int]]:
        before = time.perf_counter()
        found = client.query_points(
            NAME, query=query, using="dense", limit=TOP, search_params=models.SearchParams(**params)
        ).points
        return time.perf_counter() - before, [int((point.payload or {})["n"]) for point in found]

    first, _ = asked(queries[-1])
    found = {}
    for title, params in {"": {}, " (hnsw_ef 256)": {"hnsw_ef": 256}}.items():
        if params and (cold or job.engine == "local"):
            continue
        if not cold:
            for query in queries:
                asked(query, **params)
        taken, hits = zip(*(asked(query, **params) for query in queries), strict=True)
        found[title] = (statistics.median(taken), list(hits))
    own = memory_of(os.getpid())[0]
    client.close()
    return opened, first, found, own


def in_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        future: Future[Any] = pool.submit(work, *arguments)
        return future.result()


def watched(work: Callable[[], None]) -> Phase:
    """Do some work, and look meanwhile at the memory of this process and of those that it started."""
    peaks, done = [0, 0], threading.Event()

    def look() -> None:
        while not done.wait(0.1):
            own = psutil.Process()
            sizes = [memory_of(one.pid) for one in (own, *own.children(recursive=True))]
            for at, size in enumerate(map(sum, zip(*sizes, strict=True))):
                peaks[at] = max(peaks[at], size)

    started, before = time.perf_counter(), cpu_seconds()
    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return Phase(time.perf_counter() - started, cpu_seconds() - before, *peaks)


def memory_of(pid: int) -> tuple[int, int]:
    """Bytes of a process in memory: its own, and those of mapped files; none of one that is gone."""
    with suppress(OSError):
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return int(lines.get("RssAnon", "0 kB").split()[0]) * 1024, int(lines.get("RssFile", "0 kB").split()[0]) * 1024
    return 0, 0


def disk_bytes(place: Path) -> int:
    """Bytes that all files of a folder take on the disk."""
    return sum(file.stat().st_blocks * 512 for file in place.rglob("*") if file.is_file())


def forget(place: Path) -> None:
    """Let the system drop what it keeps of the files in memory."""
    for file in place.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def docstring_vectors() -> Vectors:
    """MiniLM's vectors of docstrings, (texts, 384), made once and kept in build/."""
    kept = Path("build/docstrings-minilm.npy")
    if not kept.exists():
        model = TextEmbedding(MINILM, specific_model_path=str(minilm_folder()), cuda=False)
        np.save(kept, np.stack(list(model.embed([text[:CHARACTERS] for text in stdlib_texts(2 * TEXTS)]))))
    vectors: Vectors = np.load(kept)
    return vectors


def moved(base: Vectors, numbers: npt.NDArray[np.int_], seed: int) -> Vectors:
    """Make points of rows of ``base`` by number, each moved along the difference of two other rows; unit vectors."""
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, len(base), (2, len(numbers)))
    vectors = base[numbers % len(base)] + MOVED * (base[one] - base[other])
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def point_vectors(base: Vectors, start: int, stop: int) -> Vectors:
    """The vectors of points ``start`` to ``stop``, a block of a job, the same each time."""
    return moved(base[:TEXTS], np.arange(start, stop), start)


def query_vectors(base: Vectors) -> Vectors:
    """Vectors made like the points', of docstrings that none of them is made of."""
    return moved(base[TEXTS:], np.arange(QUERIES), 1)


def rows(base: Vectors, texts: Sequence[str], start: int, stop: int) -> pa.Table:
    """Rows as a job gives them to its sink."""
    table = document_rows(texts, range(start, stop), NAME, lambda n: f'{{"n": {n}, "kind": "k{n % 10}"}}')
    return table.append_column("dense", dense_array(point_vectors(base, start, stop)))


def nearest(base: Vectors, count: int, queries: Vectors) -> list[list[int]]:
    """The points nearest to each query, of all points, by NumPy."""
    best = np.empty((len(queries), 0), np.float32)
    names = np.empty((len(queries), 0), np.int64)
    for start in range(0, count, ROWS):
        stop = min(start + ROWS, count)
        scores = queries @ point_vectors(base, start, stop).T
        best = np.concatenate([best, scores], axis=1)
        names = np.concatenate([names, np.broadcast_to(np.arange(start, stop), scores.shape)], axis=1)
        kept = np.argsort(-best, axis=1)[:, :TOP]
        best, names = np.take_along_axis(best, kept, axis=1), np.take_along_axis(names, kept, axis=1)
    return [row.tolist() for row in names]
