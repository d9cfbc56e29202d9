from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedders.batching import CPU_BUDGETS, GPU_BUDGET, default_token_budget, token_budget_batches

LENGTHS = st.lists(st.integers(0, 600), max_size=200).map(np.array)


@given(LENGTHS, st.integers(1, 2048), st.none() | st.integers(1, 50))
def test_each_row_once_within_budget_and_sorted(lengths: np.ndarray, budget: int, max_rows: int | None) -> None:
    batches = token_budget_batches(lengths.astype(np.int64), budget, max_rows=max_rows)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert 1 <= len(batch) <= (max_rows or len(lengths))
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= budget
    flat = [lengths[row] for batch in batches for row in batch]
    assert flat == sorted(flat, reverse=True)


@given(LENGTHS, st.integers(1, 2048))
def test_no_batch_could_take_the_next_row(lengths: np.ndarray, budget: int) -> None:
    batches = token_budget_batches(lengths.astype(np.int64), budget)
    for batch in batches[:-1]:
        assert (len(batch) + 1) * max(1, lengths[batch].max()) > budget


@pytest.mark.parametrize(("budget", "max_rows"), [(0, None), (10, 0)])
def test_refuses_limits_below_one(budget: int, max_rows: int | None) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        token_budget_batches(np.array([3]), budget, max_rows=max_rows)


def test_default_budget_grows_with_threads_within_its_bounds() -> None:
    budgets = [default_token_budget(threads=threads, on_gpu=False) for threads in (1, 2, 8, 64)]
    assert budgets == sorted(budgets)
    assert (budgets[0], budgets[-1]) == CPU_BUDGETS
    assert default_token_budget(threads=1, on_gpu=True) == GPU_BUDGET
