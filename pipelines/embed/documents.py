"""Documents of a source as the rows that are embedded: read, cut into chunks, and named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from pipelines.config.job import JobConfig
from pipelines.embed.chunking import chunk_table, load_tokenizer
from pipelines.identity import identify
from pipelines.sources import Repeats, Split, read_split


def read_chunks(
    splits: Iterable[tuple[Split, Repeats | None]],
    config: JobConfig,
    *,
    block_rows: int | None = None,
    images: bool = True,
) -> Iterator[tuple[int, pa.Table]]:
    """Yield how many documents were read, at most ``block_rows``, and their chunks as a table of CHUNK_SCHEMA.

    ``block_rows`` is ``compute.block_rows`` unless given. With ``images`` False, images that rows refer to are not
    fetched. What cannot be read is a dead row.
    """
    chunking = config.chunking
    tokenizer = load_tokenizer(chunking.tokenizer) if chunking else None
    size = block_rows or config.compute.block_rows
    for split, repeats in splits:
        for table in read_split(split, config.source, block_rows=size, repeats=repeats, images=images):
            yield table.num_rows, chunk_table(table, chunking, tokenizer)


def name_chunks(chunks: pa.Table, config: JobConfig) -> pa.Table:
    """Add point ids and content hashes: a table of IDENTIFIED_SCHEMA."""
    return identify(chunks, config.corpus, chunked=config.chunking is not None)
