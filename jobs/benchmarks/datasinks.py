"""What two datasinks of Ray Data do when a Qdrant server fails, or a row is bad: ours, and ray-qdrant's."""

from __future__ import annotations

import importlib.util
import re
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import typer
from qdrant_client import QdrantClient

from benchmarks.load import RAY_QDRANT, start_ray
from benchmarks.measuring import console
from embedders.arrow import dense_array

NAME = "faults"
DIM = 16
BLOCKS = 4
# Characters of a message that are shown.
MESSAGE = 160
# How long ours tries a request again, where a fault does not pass.
PATIENCE = 10


@dataclass(frozen=True)
class Case:
    """One way in which a write goes wrong: faults of the server, or something about the rows."""

    title: str
    faults: tuple[dict[str, Any], ...] = ()
    spoil: Callable[[list[dict[str, Any]]], None] = lambda rows: None
    # Of the collection that is there before, if one is.
    size: int | None = None


def _fault(kind: str, **more: Any) -> tuple[dict[str, Any], ...]:
    return ({"kind": kind, **more},)


def _set(row: int, key: str, value: Any) -> Callable[[list[dict[str, Any]]], None]:
    def spoil(rows: list[dict[str, Any]]) -> None:
        rows[row][key] = value

    return spoil


def _name_by_texts(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        row["id"] = f"doc-{row['id']}"


CASES = (
    Case("none"),
    Case("429 with Retry-After, twice", _fault("429_wait", times=2)),
    Case("429 that asks for smaller requests, twice", _fault("429_split", times=2)),
    Case("400, the body is too large, twice", _fault("400_too_large", times=2)),
    Case("408, though applied", _fault("408", applied="all")),
    Case("500, half applied, three times", _fault("500", applied="half", times=3)),
    Case("500, for ever", _fault("500", skip=2, times=None)),
    Case("500, the disk is full, for ever", _fault("500_disk_full", skip=2, times=None)),
    Case("502, a page of a proxy, twice", _fault("502_html", times=2)),
    Case("503, twice", _fault("503", skip=1, times=2)),
    Case("507, the quota is used up, for ever", _fault("507", skip=2, times=None)),
    Case("200 wait_timeout, applied, each time", _fault("wait_timeout", applied="all", times=None)),
    Case("200 wait_timeout, half applied, twice", _fault("wait_timeout", applied="half", times=2)),
    Case("an answer after 8 s", _fault("stall", seconds=8)),
    Case("connection reset, nothing applied", _fault("drop")),
    Case("connection reset, half applied", _fault("drop", applied="half")),
    Case("connection reset, all applied", _fault("drop", applied="all")),
    Case("a row has a vector of another length", spoil=_set(700, "vector", [1.0, 2.0])),
    Case("a row has NaN in its vector", spoil=_set(700, "vector", [float("nan")] * DIM)),
    Case("a row has no vector", spoil=_set(700, "vector", None)),
    Case("a row has no id", spoil=_set(700, "id", None)),
    Case("a row has a payload of 34 MB", spoil=_set(700, "text", "x" * 34_000_000)),
    Case("ids are texts, as doc-1", spoil=_name_by_texts),
    Case("the collection has vectors of another size", size=4),
)


def datasinks(
    rows: Annotated[int, typer.Option(min=1000, help="Rows of the dataset, in four blocks.")] = 2000,
    only: Annotated[str, typer.Option(help="Cases whose title has this alone.")] = "",
) -> None:
    """What QdrantDatasink and ray-qdrant do under each fault of the test server, as a table in Markdown."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests.qdrant_server import QdrantTestServer

    contestants: dict[str, Callable[[Any, str], str]] = {"QdrantDatasink": _ours}
    if importlib.util.find_spec("ray_qdrant"):
        contestants["ray-qdrant 0.1.1"] = _theirs
    else:
        console.print(RAY_QDRANT)
    start_ray()
    _be_quiet()
    print(f"| what goes wrong | {' | '.join(contestants)} |\n|{' --- |' * (1 + len(contestants))}", flush=True)
    with QdrantTestServer() as server:
        for write in contestants.values():
            # Processes start, and import what they need.
            _tried(CASES[0], write, rows, server)
        for case in CASES:
            if only in case.title:
                cells = [_tried(case, write, rows, server) for write in contestants.values()]
                print(f"| {case.title} | {' | '.join(cells)} |", flush=True)


def _tried(case: Case, write: Callable[[Any, str], str], rows: int, server: Any) -> str:
    """Write a dataset under a fault; tells what was raised, what is there, in how many seconds and requests."""
    import ray

    from tests.qdrant_server import Fault

    dataset = ray.data.from_arrow(_tables(case, rows)).materialize()
    server.reset()
    with closing(QdrantClient(url=server.url, timeout=60)) as client:
        if case.size is not None:
            from qdrant_client import models

            params = models.VectorParams(size=case.size, distance=models.Distance.COSINE)
            client.create_collection(NAME, vectors_config={"vector": params})
        server.faults([Fault(**fault) for fault in case.faults])
        started = time.perf_counter()
        try:
            told = write(dataset, server.url)
        except Exception as error:
            told = f"**raises** {_message(error)}"
        seconds = time.perf_counter() - started
        requests = len(server.requests("PUT", "/points"))
        server.clear()
        there = client.count(NAME, exact=True).count if client.collection_exists(NAME) else 0
    kept = "all rows are there" if there == rows else f"{there:,} of {rows:,} rows are there"
    return f"{kept}; {seconds:.1f} s, {requests} requests{'; ' + told if told else ''}"


def _tables(case: Case, rows: int) -> list[pa.Table]:
    vectors = np.random.default_rng(0).standard_normal((rows, DIM)).astype(np.float32)
    made = [{"id": row, "vector": vectors[row].tolist(), "text": f"text {row}"} for row in range(rows)]
    case.spoil(made)
    table = pa.Table.from_pylist(made)
    lengths = {None if row["vector"] is None else len(row["vector"]) for row in made}
    if lengths == {DIM}:
        matrix = np.array([row["vector"] for row in made], np.float32)
        table = table.set_column(table.schema.get_field_index("vector"), "vector", dense_array(matrix))
    step = -(-rows // BLOCKS)
    return [table.slice(start, step) for start in range(0, rows, step)]


def _ours(dataset: Any, url: str) -> str:
    from pipelines import QdrantDatasink

    datasink = QdrantDatasink(NAME, url=url, retry_seconds=PATIENCE)
    dataset.write_datasink(datasink)
    report = datasink.report
    return "" if report is None or not report.dead else f"reports {report.dead} dead: {report.samples[0]}"


def _theirs(dataset: Any, url: str) -> str:
    import ray_qdrant

    ray_qdrant.write_qdrant(dataset, url=url, collection=NAME, vector_name="vector")
    return ""


def _message(error: BaseException) -> str:
    """Name what was raised, and the line of its message that says what happened."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    said = next((line for line in lines if not line.startswith(("ray::", "File ", "Traceback", "\x1b"))), "")
    said = re.sub(r"Qdrant collection '\w+' at \S+:? ", "", said).partition(" Refer to ")[0]
    cut = said if len(said) <= MESSAGE else f"{said[:MESSAGE].rpartition(' ')[0]} ..."
    return f"{type(cause).__name__}: {cut}".replace("|", "/")


def _be_quiet() -> None:
    import logging

    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    for name in ("ray.data", "fleetembed"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
