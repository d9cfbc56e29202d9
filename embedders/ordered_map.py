"""A function applied in threads, with results in the order of what it is applied to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Items per thread that are begun or done before anybody asks for them.
AHEAD = 2


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int,
    ahead: int = AHEAD,
) -> Generator[Result, None, None]:
    """Apply a function in threads; results come in the order of the items, of which few are taken ahead.

    ``ahead`` is the number of items per thread that may be begun or done before anybody asks for them. Closing the
    iterator, or an error, drops those not begun yet. One thread is the caller's.
    """
    if threads == 1:
        yield from map(function, items)
        return
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="embedders") as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= threads * ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
