"""Making the next thing while the last one is used."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def one_ahead(items: Iterable[T], prepare: Callable[[T], object]) -> Generator[T, None, None]:
    """Yield items, each prepared; a thread makes and prepares the next one, and no more, meanwhile.

    An error of making one is raised where that one is due. Closing the iterator waits for the thread.
    """
    made = iter(items)

    def make() -> T | None:
        item = next(made, None)
        if item is not None:
            prepare(item)
        return item

    with ThreadPoolExecutor(1, "ahead") as maker:
        coming = maker.submit(make)
        while (item := coming.result()) is not None:
            coming = maker.submit(make)
            yield item
