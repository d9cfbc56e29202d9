from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedders.errors import FleetembedError
from pipelines.bisection import bisect_rows
from pipelines.errors import SinkError


class PanicException(BaseException):
    """What pyo3 raises where a library in Rust panics, synthetic here: it is no Exception."""


@given(st.integers(0, 200).flatmap(lambda size: st.tuples(st.just(size), st.sets(st.integers(0, max(size - 1, 0))))))
def test_exactly_the_rows_that_fail_alone_are_left_out(drawn: tuple[int, set[int]]) -> None:
    size, bad = drawn[0], drawn[1] if drawn[0] else set()

    def work(rows: range) -> list[int]:
        if failing := bad.intersection(rows):
            raise (PanicException if min(failing) % 2 else RecursionError)(f"at {min(failing)}")
        return list(rows)

    done, failed = bisect_rows(work, range(size))
    assert {row: str(error) for row, error in failed.items()} == {row: f"at {row}" for row in bad}
    assert [row for _, rows in done for row in rows] == [row for row in range(size) if row not in bad]
    assert all(list(rows) == given for rows, given in done)


@pytest.mark.parametrize("error", [SinkError("gone"), FleetembedError("gone"), KeyboardInterrupt("gone")])
def test_what_is_no_row_s_fault_is_raised_at_once(error: BaseException) -> None:
    tried = []

    def work(rows: range) -> None:
        tried.append(rows)
        raise error

    with pytest.raises(type(error), match="gone"):
        bisect_rows(work, range(8))
    assert tried == [range(8)]
