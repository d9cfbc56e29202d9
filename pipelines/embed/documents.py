"""Documents of a source as the rows that are embedded: read, cut into chunks, and named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from pipelines.bisection import bisect_rows
from pipelines.config.job import JobConfig
from pipelines.embed.chunking import chunk_table, load_tokenizer
from pipelines.identity import identify
from pipelines.rows import RowError, add_errors
from pipelines.sources import Repeats, Split, read_split
from pipelines.sources.blocks import regrouped
from pipelines.sources.formats import format_named
from pipelines.sources.parts import COLUMN_ROWS
from pipelines.sources.read import is_read_by_columns


def read_rows(
    splits: Iterable[tuple[Split, Repeats | None]],
    config: JobConfig,
    *,
    block_rows: int | None = None,
    tokenizer_digest: str | None = None,
) -> Iterator[tuple[int, pa.Table]]:
    """Yield how many documents were read, and their chunks, named: tables of IDENTIFIED_SCHEMA, from any source.

    See ``read_chunks`` for the rest. Of a source whose rows have point ids, each row counts as a document.
    """
    if config.chunking is None:
        yield from _whole_documents(splits, config, block_rows or config.compute.block_rows)
        return
    for documents, rows in read_chunks(splits, config, block_rows=block_rows, tokenizer_digest=tokenizer_digest):
        yield documents, rows if "id" in rows.column_names else name_chunks(rows, config)


def _whole_documents(
    splits: Iterable[tuple[Split, Repeats | None]], config: JobConfig, block_rows: int
) -> Iterator[tuple[int, pa.Table]]:
    """Read documents that are not cut, named: many at once, where a source has them as columns."""
    for split, repeats in splits:
        many = is_read_by_columns(split, config.source)
        size = max(block_rows, COLUMN_ROWS) if many else block_rows
        chunks = read_chunks([(split, repeats)], config, block_rows=size)
        named = (rows if "id" in rows.column_names else name_chunks(rows, config) for _, rows in chunks)
        for rows in regrouped(named, block_rows) if many else named:
            yield rows.num_rows, rows


def read_chunks(
    splits: Iterable[tuple[Split, Repeats | None]],
    config: JobConfig,
    *,
    block_rows: int | None = None,
    images: bool = True,
    tokenizer_digest: str | None = None,
) -> Iterator[tuple[int, pa.Table]]:
    """Yield how many documents were read, at most ``block_rows``, and their chunks as a table of CHUNK_SCHEMA.

    Of a source whose rows have point ids, these are chunks as they are, tables of IDENTIFIED_SCHEMA.
    ``block_rows`` is ``compute.block_rows`` unless given. With ``images`` False, images that rows refer to are not
    fetched. What cannot be read is a dead row. ``tokenizer_digest`` is what the tokenizer of the chunks must be (see
    ``load_tokenizer``).
    """
    cut = cutter(config, tokenizer_digest)
    size = block_rows or config.compute.block_rows
    for split, repeats in splits:
        kind = format_named(split.format)
        if kind.is_identified:
            for table in kind.identified(split, config.source, block_rows=size):
                yield table.num_rows, table
        else:
            for table in read_split(split, config.source, block_rows=size, repeats=repeats, images=images):
                yield table.num_rows, cut(table)


def name_chunks(chunks: pa.Table, config: JobConfig) -> pa.Table:
    """Add point ids and content hashes: a table of IDENTIFIED_SCHEMA; a row that cannot be named is dead."""
    chunked = config.chunking is not None
    return _row_by_row("identify", chunks, lambda some: identify(some, config.corpus, chunked=chunked))


def cutter(config: JobConfig, tokenizer_digest: str | None = None) -> Callable[[pa.Table], pa.Table]:
    """Return what cuts documents into chunks; one that cannot be cut is a dead row."""
    chunking = config.chunking
    tokenizer = load_tokenizer(chunking.tokenizer, tokenizer_digest) if chunking else None
    return lambda documents: _row_by_row("chunk", documents, lambda some: chunk_table(some, chunking, tokenizer))


def _row_by_row(stage: str, table: pa.Table, work: Callable[[pa.Table], pa.Table]) -> pa.Table:
    """Do work on a table so that a row it fails at costs no other: such rows go through it with an error."""
    if not table.num_rows:
        return work(table)
    done, failed = bisect_rows(lambda rows: work(table.slice(rows.start, len(rows))), range(table.num_rows))
    dead = [work(add_errors(table.slice(row, 1), {0: RowError.of(stage, error)})) for row, error in failed.items()]
    return pa.concat_tables([*(part for _, part in done), *dead])
