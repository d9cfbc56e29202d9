"""Counts texts by their length in tokens, in bins that are the same for all models, so that counts can be added up."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Tokens of the longest text of each bin: every length up to 8, then four bins from one power of two to the next.
LONGEST: npt.NDArray[np.int64] = np.array(
    [*range(1, 9), *(quarters << power for power in range(1, 16) for quarters in (5, 6, 7, 8))], dtype=np.int64
)


def count_lengths(lengths: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Count texts in each bin of LONGEST, (bins,); longer ones than the last holds are counted there."""
    bins = np.minimum(np.searchsorted(LONGEST, lengths), len(LONGEST) - 1)
    return np.bincount(bins, minlength=len(LONGEST))


def no_lengths() -> npt.NDArray[np.int64]:
    """Give the counts of no text."""
    return np.zeros(len(LONGEST), np.int64)
