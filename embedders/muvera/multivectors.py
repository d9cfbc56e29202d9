"""Reads multivectors, Arrow columns or NumPy matrices with offsets, as one matrix without a copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.muvera.fixed_dimensional_encoding import Tokens

Multivectors: TypeAlias = "pa.Array | pa.ChunkedArray | npt.NDArray[np.floating[Any]]"
Offsets: TypeAlias = "npt.NDArray[np.integer[Any]] | Sequence[int]"

# Rows of tokens that are checked together, so that their squares stay in the cache.
SCAN_TOKENS = 8192
NOWHERE = np.empty(0, dtype=np.intp)
NO_TOKENS, NULL, NULL_TOKEN = "no tokens", "null", "a token is null"
NOT_FINITE = "a token has NaN, infinity or a number above 1e19"


@dataclass(frozen=True)
class Block:
    """Multivectors end to end: row r owns ``tokens[offsets[r]:offsets[r + 1]]``; ``tokens`` is (tokens, dim).

    Offsets begin at 0 and end at the tokens. ``null`` marks rows, and ``null_tokens`` rows of ``tokens``, that are
    null; None where none is.
    """

    tokens: npt.NDArray[np.floating[Any]]
    offsets: npt.NDArray[np.int64]
    null: npt.NDArray[np.bool_] | None = None
    null_tokens: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def has_gaps(self) -> bool:
        """Whether a row or a token is null, or a row has no tokens."""
        return self.null is not None or self.null_tokens is not None or bool((np.diff(self.offsets) == 0).any())

    def chunks(self, rows: int, tokens: int) -> Iterator[tuple[int, int]]:
        """Cut the rows into runs (start, stop) within both limits; a row that exceeds them is a run by itself."""
        start = 0
        while start < len(self):
            full = int(np.searchsorted(self.offsets, self.offsets[start] + tokens, side="right")) - 1
            stop = max(start + 1, min(start + rows, full, len(self)))
            yield start, stop
            start = stop

    def bad_rows(self) -> dict[int, str]:
        """Rows that have no encoding, in order, and why."""
        why = dict.fromkeys(self._rows_of(np.concatenate([NOWHERE, *self._not_finite()])), NOT_FINITE)
        if self.null_tokens is not None:
            why |= dict.fromkeys(self._rows_of(np.flatnonzero(self.null_tokens)), NULL_TOKEN)
        why |= dict.fromkeys(np.flatnonzero(np.diff(self.offsets) == 0).tolist(), NO_TOKENS)
        if self.null is not None:
            why |= dict.fromkeys(np.flatnonzero(self.null).tolist(), NULL)
        return dict(sorted(why.items()))

    def _not_finite(self) -> Iterator[npt.NDArray[np.intp]]:
        for start in range(0, len(self.tokens), SCAN_TOKENS):
            norms = Tokens.of(self.tokens[start : start + SCAN_TOKENS]).norms
            yield start + np.flatnonzero(~np.isfinite(norms))

    def _rows_of(self, tokens: npt.NDArray[np.intp]) -> list[int]:
        """Rows that own some of these tokens."""
        rows: list[int] = np.unique(np.searchsorted(self.offsets, tokens, side="right") - 1).tolist()
        return rows


def read_blocks(tokens: Multivectors, offsets: Offsets | None, dim: int) -> list[Block]:
    """Read multivectors, each chunk of an Arrow array as a block.

    Raises TypeError for what is neither Arrow nor NumPy, ValueError for types, shapes and offsets that do not fit.
    """
    if isinstance(tokens, np.ndarray):
        check_matrix(tokens, dim)
        return [Block(tokens, _checked_offsets(offsets, len(tokens)))]
    if not isinstance(tokens, pa.Array | pa.ChunkedArray):
        raise TypeError(
            f"tokens must be a column of multivectors or a NumPy matrix with offsets, got {type(tokens).__name__}"
        )
    if offsets is not None:
        raise ValueError("an Arrow column has its own offsets: give none")
    _check_type(tokens.type, dim)
    return [_read_array(chunk, dim) for chunk in (tokens.chunks if isinstance(tokens, pa.ChunkedArray) else [tokens])]


def check_matrix(matrix: npt.NDArray[Any], dim: int) -> None:
    """Raise ValueError unless the matrix is (tokens, dim) of float16, float32 or float64."""
    if matrix.ndim != 2 or matrix.shape[1] != dim:
        raise ValueError(f"tokens must be a matrix of (tokens, {dim}), got the shape {matrix.shape}")
    if matrix.dtype.kind != "f" or matrix.dtype.itemsize not in (2, 4, 8):
        raise ValueError(f"tokens must be float16, float32 or float64, got {matrix.dtype}")


def _check_type(kind: pa.DataType, dim: int) -> None:
    vectors = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else None
    if vectors is None or not pa.types.is_fixed_size_list(vectors) or not pa.types.is_floating(vectors.value_type):
        raise ValueError(f"a column of multivectors is list<fixed_size_list<float>[{dim}]>, got {kind}")
    if vectors.list_size != dim:
        raise ValueError(f"the column's token vectors have {vectors.list_size} numbers, not {dim}")


def _checked_offsets(offsets: Offsets | None, tokens: int) -> npt.NDArray[np.int64]:
    if offsets is None:
        raise ValueError(
            "a matrix of many documents' tokens needs offsets: document i owns rows offsets[i] to offsets[i + 1]; "
            "for one document there are process_document and process_query"
        )
    ends = np.asarray(offsets)
    if ends.ndim != 1 or len(ends) == 0 or ends.dtype.kind not in "iu":
        raise ValueError(
            f"offsets must be one whole number more than documents, got {ends.dtype} of the shape {ends.shape}"
        )
    ends = ends.astype(np.int64)
    if ends[0] != 0 or ends[-1] != tokens:
        raise ValueError(f"offsets must begin at 0 and end at the {tokens} tokens, got {ends[0]} and {ends[-1]}")
    falling = np.flatnonzero(np.diff(ends) < 0)
    if len(falling):
        at = int(falling[0])
        raise ValueError(f"offsets must not fall, but offsets[{at}] is {ends[at]} and offsets[{at + 1}] {ends[at + 1]}")
    return ends


def _read_array(array: pa.Array, dim: int) -> Block:
    offsets = array.offsets.to_numpy().astype(np.int64)
    # What slices cut off, of the column or of its vectors, is still in the buffers.
    vectors = array.values.slice(offsets[0], offsets[-1] - offsets[0])
    numbers = vectors.values.slice(vectors.offset * dim, len(vectors) * dim)
    matrix = numbers.to_numpy(zero_copy_only=False).reshape(len(vectors), dim)
    return Block(matrix, offsets - offsets[0], _nulls(array), _nulls(vectors))


def _nulls(array: pa.Array) -> npt.NDArray[np.bool_] | None:
    return array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
