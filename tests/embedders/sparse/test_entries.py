from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from embedders.arrow import SPARSE_TYPE
from embedders.sparse.entries import entries_column, entry_indices, entry_keys, entry_rows, greatest_of_equal

INDICES = st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(st.lists(st.dictionaries(INDICES, st.floats(-1, 1, width=32), max_size=5), max_size=6))
def test_sorted_keys_make_the_column_of_their_entries(texts: list[dict[int, float]]) -> None:
    rows = np.array([row for row, text in enumerate(texts) for _ in text], np.int64)
    indices = np.array([index for text in texts for index in text], np.int64)
    values = np.array([value for text in texts for value in text.values()], np.float32)
    keys = entry_keys(rows, indices)
    np.testing.assert_array_equal(entry_rows(keys), rows)
    np.testing.assert_array_equal(entry_indices(keys), indices)
    order = np.argsort(keys)
    column = entries_column(keys[order], values[order], len(texts))
    assert column.type == SPARSE_TYPE
    assert [row["indices"] for row in column.to_pylist()] == [sorted(text) for text in texts]
    for row, text in zip(column.to_pylist(), texts, strict=True):
        assert dict(zip(row["indices"], row["values"], strict=True)) == text


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(-1, 1, width=32) | st.just(float("nan"))), max_size=30))
def test_of_equal_keys_the_greatest_value_is_kept_and_nan_is_not_lost(entries: list[tuple[int, float]]) -> None:
    keys = np.array([key for key, _ in entries], np.int64)
    values = np.array([value for _, value in entries], np.float32)
    kept, greatest = greatest_of_equal(keys, values)
    assert kept.tolist() == sorted(set(keys.tolist()))
    for key, value in zip(kept, greatest, strict=True):
        same = values[keys == key]
        assert np.isnan(value) if np.isnan(same).any() else value == same.max()
