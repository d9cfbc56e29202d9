"""Reads a range of a collection's points, page by page.

The collection lives on meanwhile: what is inserted behind the page that was read last is missed, and what is deleted
there may have been read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
from qdrant_client import QdrantClient, models

from pipelines.config.collection import CollectionConfig
from pipelines.errors import SourceError
from pipelines.sinks.qdrant.points import to_point_id
from pipelines.sinks.qdrant.read_vectors import bytes_of
from pipelines.sinks.qdrant.retry import RequestRefusedError
from pipelines.sources.qdrant.connection import ask_for_page, connected
from pipelines.sources.qdrant.copied import copied_row, named_vectors, vector_columns
from pipelines.sources.qdrant.ids import place_of
from pipelines.sources.qdrant.rows import point_row, to_table
from pipelines.sources.split import PointRange, Split
from pipelines.sources.vectors.checked import checked_rows, with_vectors_hashed
from pipelines.sources.vectors.files import Content

# Of a point beside text and payload.
POINT_BYTES = 100


def read_points(split: Split, config: CollectionConfig, *, block_rows: int) -> Iterator[pa.Table]:
    """Yield a range's points as tables of IDENTIFIED_SCHEMA, and a column a vector, with at most ``block_rows``.

    Raises SourceError where the server stays away for ``retry_seconds`` or refuses, so that no point is missing in
    silence.
    """
    if config.path is not None:
        # A worker is in a folder of its own.
        config = config.model_copy(update={"path": split.root})
    content = _range_of(split).content
    with connected(config, _range_of(split).key) as client:
        for page in Pages(client, split, config):
            for start in range(0, len(page.rows), block_rows):
                some = slice(start, start + block_rows)
                table = to_table(page.rows[some], split.name)
                yield table if content is None else _with_vectors(table, page.points[some], content)


def _with_vectors(table: pa.Table, points: Sequence[models.Record], content: Content) -> pa.Table:
    for name, column in vector_columns(points, content).items():
        table = table.append_column(name, column)
    return checked_rows(with_vectors_hashed(table, content) if content.is_foreign else table, content)


@dataclass(frozen=True)
class Page:
    """Points of one page, and a row of each."""

    points: Sequence[models.Record]
    rows: list[dict[str, Any]]


class Pages:
    """The points of a range. A page has so many of them as have about ``page_mb``, by those read so far."""

    def __init__(self, client: QdrantClient, split: Split, config: CollectionConfig) -> None:
        self._client, self._config = client, config
        self._range = _range_of(split)
        self._filter = None if self._range.filter is None else models.Filter.model_validate_json(self._range.filter)
        self._left = split.max_rows
        # The plan's estimate counts as one page.
        self._rows, self._bytes = split.rows or 0, split.bytes
        self._most = config.page_points

    def __iter__(self) -> Iterator[Page]:
        """Read from the start of the range to its stop, or so many points as the split has at most."""
        stop = None if self._range.stop is None else place_of(self._range.stop)
        following: Any = None if self._range.start is None else to_point_id(self._range.start)
        while self._left is None or self._left > 0:
            points, following = self._page(following)
            inside = points
            # In the order of their ids.
            if stop is not None and points and place_of(points[-1].id) >= stop:
                inside = [point for point in points if place_of(point.id) < stop]
            page = Page(inside, [self._row(point) for point in inside])
            self._learn(page)
            yield page
            if following is None or (stop is not None and place_of(following) >= stop):
                return

    def _row(self, point: models.Record) -> dict[str, Any]:
        content = self._range.content
        return point_row(point, self._config.text) if content is None else copied_row(point, content)

    def _page(self, first: Any) -> tuple[Sequence[models.Record], Any]:
        """Ask for the points from an id on; for fewer, where the server does not take the request."""
        while True:
            limit = self._limit()
            try:
                request = partial(self._scroll, first, limit)
                return ask_for_page(self._config, request, limit, f"reading points from {first}")
            except RequestRefusedError as error:
                if limit == 1:
                    raise SourceError(f"{self._config.title}: reading points from {first} failed: {error}") from None
                self._most = limit // 2

    def _scroll(self, first: Any, limit: int) -> tuple[Sequence[models.Record], Any]:
        # Without a shard key, all shards are read.
        return self._client.scroll(
            self._range.collection,
            self._filter,
            limit=limit,
            offset=first,
            with_payload=True,
            with_vectors=self._range.content is not None,
        )

    def _limit(self) -> int:
        fitting = int(self._config.page_mb * 1e6 * max(1, self._rows) / max(1, self._bytes))
        return max(1, min(self._most, fitting, self._most if self._left is None else self._left))

    def _learn(self, page: Page) -> None:
        """Halve the weight of what was read before, so that a part of larger points soon counts."""
        rows = page.rows
        size = sum(len(row["text"] or "") + len(row["payload"] or "") + POINT_BYTES for row in rows)
        size += sum(bytes_of(vector) for point in page.points for vector in named_vectors(point.vector).values())
        if rows:
            self._bytes = int(self._bytes / max(1, self._rows) * len(rows) + size)
            self._rows = 2 * len(rows)
        if self._left is not None:
            self._left -= len(rows)


def _range_of(split: Split) -> PointRange:
    if split.points is None:
        raise ValueError(f"{split.name} is no range of points")
    return split.points
