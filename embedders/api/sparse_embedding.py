"""Sparse vectors as `SparseTextEmbedding` gives them: one by one, or as the arrays of a sparse matrix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa


@dataclass
class SparseEmbedding:
    """Weights of the dimensions that are not zero.

    ``values`` and ``indices`` (each at most once) have the same length, which differs from text to text and may be 0.
    Models give float32 and int64 arrays; who makes one may give arrays of any numbers, or lists, which stay as they
    are.
    """

    values: npt.NDArray[Any] | Sequence[float]
    indices: npt.NDArray[Any] | Sequence[int]

    def as_object(self) -> dict[str, Any]:
        """The two arrays under the names of their fields, as Qdrant's ``SparseVector`` takes them."""
        return {"values": self.values, "indices": self.indices}

    def as_dict(self) -> dict[int, float]:
        """Weight of each dimension."""
        values = map(float, np.asarray(self.values).tolist())
        return dict(zip(map(int, np.asarray(self.indices).tolist()), values, strict=True))

    @classmethod
    def from_dict(cls, data: Mapping[int, float]) -> SparseEmbedding:
        """Turn {dimension: weight} into arrays, in the mapping's order and at the weights' precision."""
        indices = np.fromiter(data.keys(), np.int64, len(data))
        return cls(values=np.array(list(data.values())), indices=indices)


class SparseMatrix(NamedTuple):
    """Sparse vectors of many texts as the three arrays of a matrix in compressed sparse rows (CSR).

    Text r has the weights ``data[indptr[r]:indptr[r + 1]]`` (float32) of the dimensions at the same positions of
    ``indices`` (int64, each at most once in a text). ``indptr`` is (texts + 1,) int64. In this order SciPy takes them:
    ``scipy.sparse.csr_array(matrix, shape=(matrix.rows, 1 << 32))``.
    """

    data: npt.NDArray[np.float32]
    indices: npt.NDArray[np.int64]
    indptr: npt.NDArray[np.int64]

    @property
    def rows(self) -> int:
        """Number of texts."""
        return len(self.indptr) - 1

    @classmethod
    def from_arrow(cls, column: pa.StructArray) -> SparseMatrix:
        """Read a column of SPARSE_TYPE without nulls; the arrays are writable and share no memory with the column."""
        indices = column.field("indices")
        offsets = indices.offsets.to_numpy().astype(np.int64)
        start, stop = int(offsets[0]), int(offsets[-1])
        return cls(
            column.field("values").values.slice(start, stop - start).to_numpy().copy(),
            indices.values.slice(start, stop - start).to_numpy().astype(np.int64),
            offsets - start,
        )


def from_arrow(column: pa.StructArray) -> Iterator[SparseEmbedding]:
    """Read a column of SPARSE_TYPE without nulls; the vectors are writable and do not share memory with the column."""
    matrix = SparseMatrix.from_arrow(column)
    bounds = matrix.indptr.tolist()
    rows = list(map(slice, bounds[:-1], bounds[1:]))
    return map(SparseEmbedding, map(matrix.data.__getitem__, rows), map(matrix.indices.__getitem__, rows))
