"""Reads a range of a collection's points, page by page.

The collection lives on meanwhile: what is inserted behind the page that was read last is missed, and what is deleted
there may have been read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel
from qdrant_client import QdrantClient, models
from qdrant_client.qdrant_remote import QdrantRemote

from pipelines.config.collection import CollectionConfig
from pipelines.errors import SourceError
from pipelines.sinks.qdrant.points import to_point_id
from pipelines.sinks.qdrant.read_vectors import bytes_of
from pipelines.sinks.qdrant.retry import RequestRefusedError
from pipelines.sources.qdrant.connection import ask_for_page, connected
from pipelines.sources.qdrant.copied import copied_row, named_vectors, vector_columns
from pipelines.sources.qdrant.ids import Id, place_of
from pipelines.sources.qdrant.page_columns import page_table
from pipelines.sources.qdrant.rows import point_row, to_table
from pipelines.sources.split import PointRange, Split
from pipelines.sources.vectors.checked import checked_rows, with_vectors_hashed
from pipelines.sources.vectors.files import Content

# Of a point beside text and payload.
POINT_BYTES = 100
_TEXTS = ("text", "payload")


def read_points(split: Split, config: CollectionConfig, *, block_rows: int) -> Iterator[pa.Table]:
    """Yield a range's points as tables of IDENTIFIED_SCHEMA, and a column a vector, with at most ``block_rows``.

    Raises SourceError where the server stays away for ``retry_seconds`` or refuses, so that no point is missing in
    silence.
    """
    if config.path is not None:
        # A worker is in a folder of its own.
        config = config.model_copy(update={"path": split.root})
    content = _range_of(split).content
    # A client for each range, of which a collection may have many.
    with connected(config, _range_of(split).key, QdrantRemote) as client:
        for page in Pages(client, split, config):
            for start in range(0, page.table.num_rows, block_rows):
                table = page.table.slice(start, block_rows)
                some = page.points[start : start + block_rows]
                yield table if content is None else _with_vectors(table, some, content)


def _with_vectors(table: pa.Table, points: Sequence[Any], content: Content) -> pa.Table:
    for name, column in vector_columns(points, content).items():
        table = table.append_column(name, column)
    return checked_rows(with_vectors_hashed(table, content) if content.is_foreign else table, content)


class Point(NamedTuple):
    """A point as a server's answer has it, without vectors."""

    id: Id
    payload: dict[str, Any] | None
    vector: None = None


class _Page(BaseModel):
    points: list[Any]
    next_page_offset: Any = None


class _Answer(BaseModel):
    """What a server answers, as far as it is read."""

    result: _Page


@dataclass(frozen=True)
class Page:
    """Points of one page, and their rows of IDENTIFIED_SCHEMA."""

    points: Sequence[Point | models.Record]
    table: pa.Table


class Pages:
    """The points of a range. A page has so many of them as have about ``page_mb``, by those read so far."""

    def __init__(self, client: QdrantClient, split: Split, config: CollectionConfig) -> None:
        self._client, self._config, self._title = client, config, split.name
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
            page = Page(inside, self._table(inside))
            self._learn(page)
            yield page
            if following is None or (stop is not None and place_of(following) >= stop):
                return

    def _table(self, points: Sequence[Point | models.Record]) -> pa.Table:
        content, text = self._range.content, self._config.text
        if content is not None:
            return to_table([copied_row(point, content) for point in points], self._title)
        table = page_table([one.id for one in points], [one.payload or {} for one in points], text, self._title)
        return to_table([point_row(one, text) for one in points], self._title) if table is None else table

    def _page(self, first: Any) -> tuple[Sequence[Point | models.Record], Any]:
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

    def _scroll(self, first: Any, limit: int) -> tuple[Sequence[Point | models.Record], Any]:
        # Without a shard key, all shards are read.
        with_vectors = self._range.content is not None
        if not with_vectors and self._config.path is None and not self._config.prefer_grpc:
            return self._scroll_json(first, limit)
        return self._client.scroll(
            self._range.collection,
            self._filter,
            limit=limit,
            offset=first,
            with_payload=True,
            with_vectors=with_vectors,
        )

    def _scroll_json(self, first: Any, limit: int) -> tuple[Sequence[Point | models.Record], Any]:
        """Make the request that the client makes, and of the answer's points no models."""
        request = models.ScrollRequest(
            filter=self._filter, limit=limit, offset=first, with_payload=True, with_vector=False
        )
        answer = self._client.http.client.request(
            type_=_Answer,
            method="POST",
            url="/collections/{collection_name}/points/scroll",
            path_params={"collection_name": self._range.collection},
            headers={"Content-Type": "application/json"},
            content=request.model_dump_json(exclude_none=True),
        )
        return [Point(one["id"], one.get("payload")) for one in answer.result.points], answer.result.next_page_offset

    def _limit(self) -> int:
        fitting = int(self._config.page_mb * 1e6 * max(1, self._rows) / max(1, self._bytes))
        return max(1, min(self._most, fitting, self._most if self._left is None else self._left))

    def _learn(self, page: Page) -> None:
        """Halve the weight of what was read before, so that a part of larger points soon counts."""
        rows = page.table.num_rows
        size = POINT_BYTES * rows + sum(pc.sum(pc.binary_length(page.table[name])).as_py() or 0 for name in _TEXTS)
        if self._range.content is not None:
            size += sum(bytes_of(vector) for point in page.points for vector in named_vectors(point.vector).values())
        if rows:
            self._bytes = int(self._bytes / max(1, self._rows) * rows + size)
            self._rows = 2 * rows
        if self._left is not None:
            self._left -= rows


def _range_of(split: Split) -> PointRange:
    if split.points is None:
        raise ValueError(f"{split.name} is no range of points")
    return split.points
