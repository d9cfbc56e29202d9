"""Finds the rows that alone make some work on a table fail, so that no row costs another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from embedders.errors import FleetembedError

Result = TypeVar("Result")


def bisect_rows(
    work: Callable[[range], Result], rows: range
) -> tuple[list[tuple[range, Result]], dict[int, BaseException]]:
    """Do work on rows together; where it raises, on their halves, down to the rows that fail alone.

    Returns the results in the rows' order, each with its rows, and what was raised by row. A FleetembedError is
    raised: it tells of a model or a place as a whole, which is no row's fault.
    """
    if not len(rows):
        return [], {}
    try:
        return [(rows, work(rows))], {}
    except FleetembedError:
        raise
    except BaseException as error:
        if not _is_of_the_work(error):
            raise
        if len(rows) == 1:
            return [], {rows.start: error}
    half = len(rows) // 2
    left, left_errors = bisect_rows(work, rows[:half])
    right, right_errors = bisect_rows(work, rows[half:])
    return left + right, left_errors | right_errors


def _is_of_the_work(error: BaseException) -> bool:
    """Tell a failure from what stops a process. Libraries in Rust panic with a class that is no Exception."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"
