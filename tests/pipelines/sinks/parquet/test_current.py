"""Which rows are current, beside the rule applied to one row after the other."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sinks.parquet import current
from pipelines.sinks.parquet.current import RowRanks
from pipelines.sinks.parquet.files import FileRows, Keys

# Generation, and rows: an id, a document, the number of the chunk, and how many there are.
FILES = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3), st.integers(0, 3), st.integers(1, 4)), max_size=12),
    ),
    max_size=6,
)


def spread(values: list[int]) -> Keys:
    """Hashes that differ in their first bits."""
    hashes: Keys = np.array(values, np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return hashes


def file_rows(name: str, generation: int, rows: list[tuple[int, int, int, int]], *, chunked: bool) -> FileRows:
    none = np.empty(0, np.uint64)
    columns = [[row[at] for row in rows] for at in range(4)]
    chunks = [np.array(column if chunked else [], np.int32) for column in columns[2:]]
    documents = spread(columns[1]) if chunked else none
    return FileRows(name, generation, spread(columns[0]), none, none, none, documents, *chunks)


def expected(files: list[FileRows]) -> dict[str, list[bool]]:
    files = sorted(files, key=lambda file: (file.generation, file.name))
    newest = {key: (file.name, at) for file in files for at, key in enumerate(file.ids.tolist())}
    kept = {file.name: [newest[key] == (file.name, at) for at, key in enumerate(file.ids.tolist())] for file in files}
    ends = {
        document: (file.generation, chunk_no)
        for file in files
        for at, (document, chunk_no, count) in enumerate(
            zip(file.documents.tolist(), file.chunk_no.tolist(), file.chunk_count.tolist(), strict=True)
        )
        if kept[file.name][at] and chunk_no + 1 == count
    }
    for file in files:
        for at, (document, chunk_no) in enumerate(zip(file.documents.tolist(), file.chunk_no.tolist(), strict=True)):
            generation, end = ends.get(document, (0, 0))
            kept[file.name][at] &= not (chunk_no > end and file.generation < generation)
    return kept


@given(files=FILES, chunked=st.booleans(), memory=st.sampled_from([1, 7, 1 << 20]), left=st.integers(0, 5))
def test_rows_are_current_by_the_rule(
    files: list[tuple[int, list[tuple[int, int, int, int]]]], chunked: bool, memory: int, left: int
) -> None:
    known = [
        file_rows(f"{number * 7 % 10}", generation, rows, chunked=chunked)
        for number, (generation, rows) in enumerate(files)
    ]
    ranks = RowRanks()
    with mock.patch.object(current, "ROWS_IN_MEMORY", memory), mock.patch.object(current, "PART_BITS", 2):
        for file in known:
            ranks.add(file)
        # One file is gone by then, and the ranks are asked for twice.
        there = [file for number, file in enumerate(known) if number != left]
        for some in (known, there):
            found = ranks.current([file.name for file in some])
            assert {name: kept.tolist() for name, kept in found.items()} == expected(some)
        wanted = spread([0, 5])
        assert ranks.having(wanted) == [file.name for file in known if np.isin(file.ids, wanted).any()]


def test_memory_does_not_grow_with_the_rows() -> None:
    def files(rows: int) -> Iterator[FileRows]:
        none, numbers = np.empty(0, np.uint64), np.empty(0, np.int32)
        for start in range(0, rows, 1 << 12):
            ids = np.arange(start, start + (1 << 12), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            yield FileRows(f"{start:09}", 1, ids, none, none, none, none, numbers, numbers)

    def most(rows: int) -> int:
        tracemalloc.start()
        try:
            ranks = RowRanks()
            names = []
            for file in files(rows):
                ranks.add(file)
                names.append(file.name)
            assert all(kept.all() for kept in ranks.current(names).values())
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    with mock.patch.object(current, "ROWS_IN_MEMORY", 1 << 16):
        assert most(1 << 20) - most(1 << 17) < (1 << 20)


@pytest.mark.parametrize("memory", [1, 1 << 20])
def test_no_rows_at_all(memory: int) -> None:
    with mock.patch.object(current, "ROWS_IN_MEMORY", memory):
        assert dict(RowRanks().current([])) == {} and RowRanks().having(spread([1])) == []
