"""One sparse vector, as `SparseTextEmbedding.embed` gives it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa


@dataclass
class SparseEmbedding:
    """Weights of the dimensions that are not zero.

    ``values`` (float32) and ``indices`` (int64, each at most once) have the same length, which differs from text to
    text and may be 0.
    """

    values: npt.NDArray[np.float32]
    indices: npt.NDArray[np.int64]

    def as_object(self) -> dict[str, npt.NDArray[np.float32] | npt.NDArray[np.int64]]:
        """The two arrays under the names of their fields, as Qdrant's ``SparseVector`` takes them."""
        return {"values": self.values, "indices": self.indices}

    def as_dict(self) -> dict[int, float]:
        """Weight of each dimension."""
        return dict(zip(self.indices.tolist(), self.values.tolist(), strict=True))

    @classmethod
    def from_dict(cls, data: Mapping[int, float]) -> SparseEmbedding:
        """Turn {dimension: weight} into arrays, in the mapping's order."""
        return cls(
            values=np.fromiter(data.values(), np.float32, len(data)),
            indices=np.fromiter(data.keys(), np.int64, len(data)),
        )


def from_arrow(column: pa.StructArray) -> Iterator[SparseEmbedding]:
    """Read a column of SPARSE_TYPE without nulls; the vectors are writable and do not share memory with the column."""
    indices = column.field("indices")
    offsets = indices.offsets.to_numpy()
    start, stop = int(offsets[0]), int(offsets[-1])
    flat_indices = indices.values.slice(start, stop - start).to_numpy().astype(np.int64)
    flat_values = column.field("values").values.slice(start, stop - start).to_numpy().copy()
    bounds = (offsets - start).tolist()
    rows = list(map(slice, bounds[:-1], bounds[1:]))
    return map(SparseEmbedding, map(flat_values.__getitem__, rows), map(flat_indices.__getitem__, rows))
