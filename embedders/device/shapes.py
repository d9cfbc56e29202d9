"""Few shapes of batches for GPUs: memory is reused, kernels are chosen once, and matrices fit tensor cores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Up to so many tokens, lengths are multiples of so many.
STEPS = ((128, 32), (512, 64))
LARGEST_STEP = 256
# Rows of a batch are multiples of this.
ROWS = 8


def bucket_lengths(lengths: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """Round lengths in tokens up to a multiple of 32, 64 (above 128) or 256 (above 512), but not beyond ``most``.

    A length that is more than ``most`` stays as it is.
    """
    steps = np.select([lengths <= limit for limit, _ in STEPS], [step for _, step in STEPS], LARGEST_STEP)
    rounded: npt.NDArray[np.int64] = np.maximum(lengths, np.minimum(lengths + -lengths % steps, most))
    return rounded


def bucket_length(length: int, most: int) -> int:
    """Round one length up; see ``bucket_lengths``."""
    return int(bucket_lengths(np.array([length]), most)[0])


def bucket_rows(rows: int, most: int) -> int:
    """Round a number of rows up to 1, 2, 4 or a multiple of 8; as it is where that would be more than ``most``."""
    rounded = rows + -rows % ROWS if rows > ROWS else 1 << max(0, rows - 1).bit_length()
    return rounded if rounded <= most else rows
