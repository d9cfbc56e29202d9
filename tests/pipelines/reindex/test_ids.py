"""Ids of two collections side by side."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from pipelines.reindex.ids import SHOWN, compare_ids

IDS = st.sets(st.one_of(st.integers(0, 20), st.integers(0, 30).map(lambda n: str(UUID(int=n << 120)))))


def in_order(ids: set[int | str]) -> list[int | str]:
    # As Qdrant gives them: all integers first.
    return sorted(one for one in ids if isinstance(one, int)) + sorted(one for one in ids if isinstance(one, str))


@given(IDS, IDS)
def test_the_anti_join_is_the_difference_of_sets_both_ways(left: set[int | str], right: set[int | str]) -> None:
    found = compare_ids(iter(in_order(left)), iter(in_order(right)))
    assert (found.left, found.right, found.both) == (len(left - right), len(right - left), len(left & right))
    assert found.first_left == [str(one) for one in in_order(left - right)[:SHOWN]]
    assert found.first_right == [str(one) for one in in_order(right - left)[:SHOWN]]
