"""Ids are compared in parts by their hashes, with the result that going through all rows in their order has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sources import Split, SplitScan, find_duplicates
from pipelines.sources.duplicates import document_keys
from pipelines.sources.id_comparison import MOST_PARTS, IdKeys, compare, compare_ids_here, parts_for
from pipelines.sources.presence import find_presence

Rows = list[tuple[str, str]]
# Few ids, so that most repeat: each is that of a live row, a dead one, or a deletion.
SPLITS = st.lists(
    st.lists(st.tuples(st.integers(0, 40).map(str), st.sampled_from(["live", "live", "dead", "deleted"])), max_size=30),
    max_size=8,
)
PARTS = st.integers(0, 6).map(lambda bits: 1 << bits)


def scan_of(rows: Rows) -> SplitScan:
    """What is told of a split with these rows."""

    def at(kind: str) -> tuple[list[str], np.ndarray]:
        found = [(name, place) for place, (name, its) in enumerate(rows) if its == kind]
        return [name for name, _ in found], np.array([place for _, place in found], np.uint64)

    (live, positions), (dead, _), (deleted, deleted_at) = map(at, ("live", "dead", "deleted"))
    return SplitScan(
        Split("r", "p", "n", "jsonl", bytes=1),
        len(live) + len(dead),
        len(dead),
        None,
        document_keys(pa.array(live, pa.string())),
        positions,
        dead_keys=document_keys(pa.array(dead, pa.string())),
        deleted=tuple(deleted),
        deleted_positions=deleted_at,
    )


def repeats_of(splits: Sequence[Rows]) -> dict[int, list[list[int]]]:
    """Rows that repeat an id, found by going through all of them."""
    firsts: dict[str, tuple[int, int]] = {}
    for number, rows in enumerate(splits):
        for place, (name, kind) in enumerate(rows):
            if kind == "live":
                firsts.setdefault(name, (number, place))
    found: dict[int, list[list[int]]] = {}
    for number, rows in enumerate(splits):
        for place, (name, kind) in enumerate(rows):
            if kind != "dead" and name in firsts and firsts[name] != (number, place):
                found.setdefault(number, []).append([place, *firsts[name]])
    return found


@settings(max_examples=100, deadline=None)
@given(SPLITS, PARTS)
def test_ids_that_are_compared_in_parts_give_what_going_through_the_rows_gives(splits: list[Rows], parts: int) -> None:
    scans = [scan_of(rows) for rows in splits]
    pieces = [IdKeys.of(number, scan).cut(parts) for number, scan in enumerate(scans)]
    compared = [compare([piece[part] for piece in pieces], keep_keys=True) for part in range(parts)]
    bare = [scan.without_keys() for scan in scans]

    found = find_duplicates(bare, compared)
    expected = repeats_of(splits)
    assert {number: rows.tolist() for number, rows in found.rows.items()} == expected
    kinds = [splits[number][place][1] for number, rows in expected.items() for place, *_ in rows]
    assert found.deletions == kinds.count("deleted")

    rows = [row for its in splits for row in its]
    there = {name for name, kind in rows if kind != "deleted"}
    presence = find_presence(bare, compared)
    assert presence.deleted == tuple(
        dict.fromkeys(name for name, kind in rows if kind == "deleted" and name not in there)
    )
    assert presence.keys is not None
    assert presence.keys.tolist() == sorted(
        document_keys(pa.array([n for n, kind in rows if kind != "deleted"], pa.string())).tolist()
    )


@pytest.mark.parametrize(("tasks", "parts"), [(0, 1), (1, 1), (3, 1), (4, 2), (1 << 20, MOST_PARTS)])
def test_few_tasks_have_few_parts(tasks: int, parts: int) -> None:
    assert parts_for(tasks) == parts


def test_items_are_looked_at_in_their_order() -> None:
    splits: list[Rows] = [[(str(name), "live") for name in range(start, start + 100)] for start in range(0, 1000, 50)]

    def look(number: int) -> tuple[int, IdKeys]:
        return number, IdKeys.of(number, scan_of(splits[number]))

    numbers, compared = compare_ids_here(look, range(len(splits)), keep_keys=False)
    assert numbers == list(range(len(splits))) and len(compared) == parts_for(len(splits)) == 8
    found = find_duplicates([scan_of(rows).without_keys() for rows in splits], compared)
    assert {number: rows.tolist() for number, rows in found.rows.items()} == repeats_of(splits)
