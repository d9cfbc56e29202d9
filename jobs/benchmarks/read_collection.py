"""Reading a collection as a source, beside plain ``client.scroll``."""

from __future__ import annotations

from contextlib import closing

import pyarrow as pa
from qdrant_client import QdrantClient

from benchmarks.at_server import BOTH, Points, Stopwatch, Url, at_server, costs, facts, show_costs, synthetic_points
from benchmarks.load import ROWS, check, fresh
from benchmarks.measuring import BM25, Repeats
from pipelines.config.job import JobConfig
from pipelines.embed.documents import read_rows
from pipelines.sinks.factory import make_sink
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sources.plan import plan_source

PAGE = 256


def read_collection(points: Points = 20_000, repeats: Repeats = 3, url: Url = None) -> None:
    """A collection's points with payload and without vectors, as rows to embed."""
    with at_server(url) as server, fresh(server.url):
        address = server.url
        fill(synthetic_points(points, BOTH), address)
        check(address, points)
        counted = {"fleetembed's reader": 0, f"client.scroll, pages of {PAGE}": 0}
        ours, theirs = counted

        def read(watch: Stopwatch) -> None:
            counted[ours] = read_as_source(address, watch)

        def scroll(watch: Stopwatch) -> None:
            counted[theirs] = scroll_all(address, watch)

        found = costs({ours: read, theirs: scroll}, repeats)
    if set(counted.values()) != {points}:
        raise SystemExit(f"not all of {points:,} points were read: {counted}")
    show_costs(f"read-collection, {points:,} points with text and payload, one reader each", found, points)


def fill(table: pa.Table, url: str) -> None:
    """Write the points."""
    sink = make_sink(QdrantSinkConfig(type="qdrant", collection="benchmark", url=url))
    sink.open(facts(BOTH))
    with closing(sink.connect()) as writer:
        for start in range(0, table.num_rows, ROWS):
            writer.write(table.slice(start, ROWS))
    sink.finish(completed=True)


def read_as_source(url: str, watch: Stopwatch) -> int:
    """Read all ranges of ids one after the other, as one reader of a job does; how many rows there were."""
    job = JobConfig.model_validate(
        {
            "source": {"qdrant": {"url": url, "collection": "benchmark"}},
            "embeddings": [{"name": "bm25", "model": BM25}],
            "sink": [{"type": "parquet", "path": "unused"}],
        }
    )
    splits = plan_source(job.source).splits
    with watch.running():
        return sum(table.num_rows for _, table in read_rows(((split, None) for split in splits), job))


def scroll_all(url: str, watch: Stopwatch) -> int:
    """Page through all points; how many there were."""
    read, offset = 0, None
    with closing(QdrantClient(url=url, timeout=60, check_compatibility=False)) as client, watch.running():
        while True:
            page, offset = client.scroll("benchmark", limit=PAGE, offset=offset, with_payload=True)
            read += len(page)
            if offset is None:
                return read
