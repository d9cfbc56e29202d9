"""Which points two collections have in common: both are read in the order of ids, side by side, without payload."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from qdrant_client import QdrantClient, models

PAGE_IDS = 10_000
# Ids of each kind that are shown.
SHOWN = 5
Ask = Callable[[Callable[[], Any], str], Any]
PointId = int | str | UUID


@dataclass
class Difference:
    """How many points are in the one collection alone, in the other alone, and in both.

    Of those in one alone, the first ``keep`` ids are kept.
    """

    keep: int = SHOWN
    left: int = 0
    right: int = 0
    both: int = 0
    first_left: list[str] = field(default_factory=list)
    first_right: list[str] = field(default_factory=list)

    def only_left(self, point: PointId) -> None:
        """Count a point of the one alone."""
        self.left += 1
        if len(self.first_left) < self.keep:
            self.first_left.append(str(point))

    def only_right(self, point: PointId) -> None:
        """Count a point of the other alone."""
        self.right += 1
        if len(self.first_right) < self.keep:
            self.first_right.append(str(point))


def read_ids(client: QdrantClient, collection: str, ask: Ask, chosen: models.Filter | None = None) -> Iterator[PointId]:
    """Yield a collection's ids in Qdrant's order; ``ask`` makes a request and says what it was for where it fails."""
    offset: Any = None
    page = partial(
        client.scroll, collection, scroll_filter=chosen, limit=PAGE_IDS, with_payload=False, with_vectors=False
    )
    while True:
        points, offset = ask(partial(page, offset=offset), "reading the ids of points")
        yield from (point.id for point in points)
        if offset is None:
            return


def compare_ids(left: Iterator[PointId], right: Iterator[PointId], keep: int = SHOWN) -> Difference:
    """Compare two ascending sequences of ids; neither is held in memory, and ``keep`` ids of one alone are."""
    found = Difference(keep)
    one, other = next(left, None), next(right, None)
    while one is not None and other is not None:
        a, b = id_order(one), id_order(other)
        if a == b:
            found.both += 1
            one, other = next(left, None), next(right, None)
        elif a < b:
            found.only_left(one)
            one = next(left, None)
        else:
            found.only_right(other)
            other = next(right, None)
    while one is not None:
        found.only_left(one)
        one = next(left, None)
    while other is not None:
        found.only_right(other)
        other = next(right, None)
    return found


def only_left(left: Iterator[PointId], right: Iterator[PointId]) -> Iterator[PointId]:
    """Yield what the first of two ascending sequences of ids has alone."""
    other = next(right, None)
    for one in left:
        while other is not None and id_order(other) < id_order(one):
            other = next(right, None)
        if other is None or id_order(other) != id_order(one):
            yield one


def id_order(point: PointId) -> tuple[int, int]:
    """Order ids as Qdrant does: all integers before all UUIDs, these by their 128-bit value."""
    return (0, point) if isinstance(point, int) else (1, UUID(str(point)).int)
