"""Entries of many sparse vectors, each a 64-bit number: one sort orders them by text, then by index."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.arrow import sparse_array

Keys = npt.NDArray[np.int64]

INDEX_BITS = 32
INDEX_MASK = (1 << INDEX_BITS) - 1


def entry_keys(rows: npt.NDArray[np.int64], indices: npt.NDArray[np.int64]) -> Keys:
    """Key of each entry, from its text's row and its index, 0 to 2**32 - 1."""
    return (rows << INDEX_BITS) | indices


def entry_rows(keys: Keys) -> npt.NDArray[np.int64]:
    """Row of the text that each entry belongs to."""
    return keys >> INDEX_BITS


def entry_indices(keys: Keys) -> npt.NDArray[np.int64]:
    """Index of each entry in the text's vector."""
    return keys & INDEX_MASK


def row_offsets(rows: npt.NDArray[np.int64], texts: int) -> npt.NDArray[np.int64]:
    """Offsets of the texts' entries among ascending rows, (texts + 1,); the last is the number of entries."""
    return np.searchsorted(rows, np.arange(texts + 1))


def greatest_of_equal(keys: Keys, values: npt.NDArray[Any]) -> tuple[Keys, npt.NDArray[Any]]:
    """Keep of entries with equal keys the greatest value, NaN before all; returns both by ascending key."""
    order = np.argsort(keys, kind="stable")
    keys, values = keys[order], values[order]
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    greatest: npt.NDArray[Any] = np.maximum.reduceat(values, first)
    return keys[first], greatest


def entries_column(keys: Keys, values: npt.NDArray[np.floating], texts: int) -> pa.Array:
    """Make a column of SPARSE_TYPE of so many texts, from the values of entries by ascending key."""
    return sparse_array(row_offsets(entry_rows(keys), texts), entry_indices(keys), values)
