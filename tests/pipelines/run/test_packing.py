from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.rows import IDENTIFIED_SCHEMA, IMAGE_COLUMN
from pipelines.run.packing import cut, cut_as_decided, pack, regroup, unpack

Values = list[tuple[str | None, bytes | None]]
ROWS = st.lists(st.tuples(st.text(max_size=3) | st.none(), st.binary(max_size=9) | st.none()), max_size=5)


def rows(values: Values) -> pa.Table:
    return pa.Table.from_pylist([{"text": text, IMAGE_COLUMN: image} for text, image in values], IDENTIFIED_SCHEMA)


@given(ROWS, st.integers(0, 5))
def test_a_packed_table_is_one_row_and_comes_out_as_it_was(
    values: list[tuple[str | None, bytes | None]], at: int
) -> None:
    table = rows(values).slice(at)
    packed = pack(table)
    assert packed.num_rows == 1
    assert unpack(packed).equals(table) and unpack(packed).schema.equals(IDENTIFIED_SCHEMA)
    assert unpack(pa.concat_tables([packed, packed])).num_rows == 2 * table.num_rows


@given(st.lists(ROWS, max_size=8), st.integers(1, 7), st.integers(100, 400))
def test_groups_hold_all_rows_in_order_within_the_limits(
    values: list[Values], block_rows: int, block_bytes: int
) -> None:
    tables = [rows(part) for part in values]
    groups = list(regroup(tables, block_rows, block_bytes))
    assert pa.concat_tables([rows([]), *groups]).equals(pa.concat_tables([rows([]), *tables]))
    pieces = [table.slice(at, block_rows) for table in tables for at in range(0, table.num_rows, block_rows)]
    largest = max((piece.nbytes for piece in pieces), default=0)
    for group in groups:
        assert 0 < group.num_rows <= block_rows
        # Joined, tables are no larger than one by one.
        assert group.nbytes <= max(block_bytes, largest)


def test_many_small_tables_become_few() -> None:
    groups = list(regroup([rows([("a", b"1")])] * 2500, 1000))
    assert [group.num_rows for group in groups] == [1000, 1000, 500]


@given(st.lists(ROWS, max_size=8), st.integers(1, 7), st.integers(1, 7), st.integers(0, 9))
def test_rows_are_cut_again_where_they_were_cut_before_a_worker_died(
    values: list[Values], block_rows: int, block_rows_again: int, done: int
) -> None:
    tables = [rows(part) for part in values]
    decided: dict[int, int] = {}
    first = list(cut_as_decided(regroup(tables, block_rows), decided.setdefault))
    assert [block.num_rows for block in first] == [group.num_rows for group in regroup(tables, block_rows)]
    # The worker died after so many blocks, and the limits come out elsewhere now.
    known = {number: size for number, size in decided.items() if number < done}
    again = list(cut_as_decided(regroup(tables, block_rows_again), known.setdefault))
    assert [block.to_pylist() for block in again[:done]] == [block.to_pylist() for block in first[:done]]
    assert pa.concat_tables([rows([]), *again]).to_pylist() == pa.concat_tables([rows([]), *first]).to_pylist()


@given(st.lists(st.integers(0, 90), max_size=20), st.integers(1, 100))
def test_pieces_hold_all_rows_in_order_and_no_more_bytes_than_allowed_or_one_row(
    sizes: list[int], block_bytes: int
) -> None:
    table = pa.table({"row": pa.array(range(len(sizes)), pa.int64())})
    pieces = [piece["row"].to_pylist() for piece in cut(table, np.array(sizes, np.int64), block_bytes)]
    assert [row for piece in pieces for row in piece] == list(range(len(sizes)))
    for piece, after in zip(pieces, [*pieces[1:], [None]], strict=False):
        held = sum(sizes[row] for row in piece)
        assert piece and (held <= block_bytes or len(piece) == 1)
        # No piece is smaller than it must be.
        assert after[0] is None or held + sizes[after[0]] > block_bytes
