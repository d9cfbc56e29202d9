from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from embedders.arrow import SPARSE_TYPE
from embedders.sparse.entries import entries_column, entry_indices, entry_keys, entry_rows

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
