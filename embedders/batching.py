"""Token-budget batches: rows of similar length together, so that little padding is computed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

# Tokens a thread works on at once. Measured with a 384-wide BERT, 1 thread, on 1,000 docstrings: tokens a CPU second
# at a budget of 256, 512, 1,024, 2,048, 4,096 and 8,192 were 8.1k, 8.1k, 7.8k, 7.1k, 6.2k and 5.2k (activations leave
# the cache), padding 0.5, 1.3, 3.1, 6.7, 12 and 20%. More threads want more rows to share out.
CPU_TOKENS_A_THREAD = 256
CPU_BUDGETS = (512, 4096)
# An H100 computed as many tokens a second in calls of 16,384 tokens as of 65,536: bare ONNX Runtime 1.63 and 1.61
# million with a BERT-base, 6.4 and 7.0 million with MiniLM. 16,384 tokens of a 1,024-wide model with 4,096-wide inner
# layers are 268 MB of float32 activations, which every current GPU has.
GPU_BUDGET = 16384
# Share of a batch's longest text, below which others are left to the next batch.
MUCH_SHORTER = 0.875


def default_token_budget(*, threads: int, on_gpu: bool) -> int:
    """Tokens, padding included, of one model call."""
    if on_gpu:
        return GPU_BUDGET
    low, high = CPU_BUDGETS
    return min(max(CPU_TOKENS_A_THREAD * threads, low), high)


def token_budget_batches(
    lengths: npt.NDArray[np.integer],
    budget: int | Callable[[int], int],
    *,
    max_rows: int | None = None,
    multiple_of: int = 1,
    least: int | None = None,
) -> list[npt.NDArray[np.intp]]:
    """Partition rows by length, longest first, so that rows x longest <= budget in every batch.

    ``lengths`` is (rows,), in tokens. A row that is longer than the budget gets a batch to itself; no batch has
    more than ``max_rows``. ``budget`` may be a function of the longest length. Batches that the budget ends have a
    ``multiple_of`` so many rows where it allows them. A batch that has ``least`` tokens ends before texts that are
    MUCH_SHORTER. Returns the row numbers of each batch. Longest first lets memory grow once.
    """
    if not callable(budget):
        budget = partial(_at_any_length, budget)
    if budget(1) < 1 or (max_rows is not None and max_rows < 1):
        raise ValueError(f"budget and max_rows must be 1 or more, got {budget(1)} and {max_rows}")
    order = np.argsort(-lengths, kind="stable")
    batches = []
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        rows = max(1, budget(longest) // longest)
        rows -= rows % multiple_of if rows >= multiple_of else 0
        end = start + (rows if max_rows is None else min(rows, max_rows))
        if least is not None:
            some = lengths[order[start:end]]
            enough = max(-(-least // longest), int(np.count_nonzero(some > MUCH_SHORTER * longest)))
            end = min(end, start + enough + -enough % multiple_of)
        batches.append(order[start:end])
        start = end
    return batches


def _at_any_length(budget: int, longest: int) -> int:
    return budget
