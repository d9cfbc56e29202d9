"""Fetches the images of rows some rows ahead, in threads: a store answers late, but many requests at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from pipelines.rows import RowError
from pipelines.sources.files import FoundFile
from pipelines.sources.images.loader import ImageLoader, ImageUnreadableError
from pipelines.sources.records import STAGE
from pipelines.sources.rows import Row

ROWS_AHEAD = 16
BYTES_AHEAD = 64 << 20
# How large an image is taken to be before one has come.
FIRST_GUESS = 1 << 20

Pending = tuple[Row, "Future[bytes] | None"]


def fetch_images(rows: Iterable[Row], loader: ImageLoader) -> Iterator[Row]:
    """Put the bytes of images in place of references, in the rows' own order; an image that cannot be had is an error.

    At most ROWS_AHEAD rows are in work, and fewer where their images have, or by those before are likely to have,
    BYTES_AHEAD together. Those of them that have the same reference share one fetch.
    """
    window: deque[Pending] = deque()
    sizes = _Sizes()
    pool = ThreadPoolExecutor(ROWS_AHEAD, thread_name_prefix="images")
    try:
        for row in rows:
            while window and (len(window) >= ROWS_AHEAD or sizes.ahead(window, row) > BYTES_AHEAD):
                yield _settled(*window.popleft(), sizes)
            if row.reference is None and not window:
                yield row
            else:
                window.append((row, _fetched(row, window) or _submitted(row, loader, pool)))
        while window:
            yield _settled(*window.popleft(), sizes)
    finally:
        pool.shutdown(cancel_futures=True)


def _fetched(row: Row, window: Iterable[Pending]) -> Future[bytes] | None:
    """Find the fetch of an image that a row in work refers to as well."""
    return next((pending for other, pending in window if other.reference == row.reference), None)


def _submitted(row: Row, loader: ImageLoader, pool: ThreadPoolExecutor) -> Future[bytes] | None:
    return None if row.reference is None else pool.submit(loader.load, row.reference)


class _Sizes:
    """Bytes of the images so far, by which those of others are guessed."""

    def __init__(self) -> None:
        self.images = self.bytes = 0

    def ahead(self, window: Iterable[Pending], row: Row) -> float:
        """Bytes of the rows in work and of one more."""
        guess = self.bytes / self.images if self.images else float(FIRST_GUESS)
        return _size(row, None, guess) + sum(_size(*pending, guess) for pending in window)


def _size(row: Row, pending: Future[bytes] | None, guess: float) -> float:
    if isinstance(row.reference, FoundFile):
        return row.reference.bytes
    if pending is not None and pending.done() and pending.exception() is None:
        return len(pending.result())
    return len(row.image or b"") if row.reference is None else guess


def _settled(row: Row, pending: Future[bytes] | None, sizes: _Sizes) -> Row:
    if pending is None:
        return row
    try:
        row.image = pending.result()
        sizes.images += 1
        sizes.bytes += len(row.image)
    except ImageUnreadableError as error:
        row.error = RowError(STAGE, "UnreadableImage", str(error))
    row.reference = None
    return row
