"""Rows of a source that are looked at to learn which columns its payload has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from pipelines.config.job import JobConfig
from pipelines.embed.documents import read_chunks
from pipelines.rows import is_dead
from pipelines.sinks.base import JobFacts, Sink
from pipelines.sources import Split

SPLITS = 8
ROWS_OF_ONE = 250


def learn_payloads(sinks: Iterable[Sink], config: JobConfig, splits: Sequence[Split], facts: JobFacts) -> list[str]:
    """Let sinks that put payloads into columns choose these by rows of the source; returns what is to be told."""
    # Imported by need: most jobs have no such sink.
    from pipelines.sinks.parquet.sink import ParquetSink

    learning = [sink for sink in sinks if isinstance(sink, ParquetSink) and sink.is_to_learn]
    if not learning:
        return []
    payloads = _payloads(config, splits)
    return [notice for sink in learning for notice in sink.learn_payload(payloads, facts.vectors)]


def _payloads(config: JobConfig, splits: Sequence[Split]) -> list[str | None]:
    """Read the payloads of the first rows of some splits, which lie apart."""
    whole = config.model_copy(update={"chunking": None})
    step = max(1, len(splits) // SPLITS)
    found: list[str | None] = []
    for split in splits[::step][:SPLITS]:
        some = next(read_chunks([(split, None)], whole, block_rows=ROWS_OF_ONE, images=False), None)
        if some is not None:
            found += some[1].filter(pa.array(~is_dead(some[1]))).slice(0, ROWS_OF_ONE)["payload"].to_pylist()
    return found
