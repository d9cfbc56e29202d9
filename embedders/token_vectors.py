"""A vector for every token of many texts, as late interaction models give them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from embedders.pooling import SMALLEST_NORM
from embedders.tokenized_texts import TokenizedTexts, ranges

if TYPE_CHECKING:
    from embedders.text_model import BatchOutput


@dataclass(frozen=True)
class TokenVectors:
    """Vectors of many texts, end to end: text r owns ``vectors[offsets[r]:offsets[r + 1]]``.

    ``vectors`` is (tokens, dim) float32 or float16, ``offsets`` (texts + 1,) int64.
    """

    vectors: npt.NDArray[np.floating]
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[npt.NDArray[np.floating]]:
        bounds = self.offsets.tolist()
        return (self.vectors[start:stop] for start, stop in pairwise(bounds))

    def take(self, texts: npt.NDArray[np.intp]) -> TokenVectors:
        """Vectors of the texts at these positions, of which one may come twice."""
        starts, stops = self.offsets[texts], self.offsets[texts + 1]
        return TokenVectors(self.vectors[ranges(starts, stops)], np.concatenate(([0], np.cumsum(stops - starts))))


def store_kept(
    output: BatchOutput,
    tokens: TokenizedTexts,
    targets: npt.NDArray[np.int64],
    vectors: npt.NDArray[np.floating],
    *,
    normalize: bool,
) -> None:
    """Copy the kept tokens' vectors of a batch to their rows of ``vectors``, scaled to unit length if wanted.

    ``targets`` is as long as ``tokens.ids``: the row of ``vectors`` that a token's vector goes to, or -1.
    """
    at = targets[tokens.positions(output.rows)]
    source = output.values.reshape(-1, output.values.shape[2])
    if len(at) < len(source):
        source = source.take(np.flatnonzero(output.mask), axis=0)
    kept = at >= 0
    if not kept.all():
        at, source = at[kept], source[kept]
    vectors[at] = unit_vectors(source) if normalize else source


def unit_vectors(vectors: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Scale (tokens, dim) to unit length, in half the time of `embedders.pooling.l2_normalize`."""
    vectors = vectors.astype(np.float32, copy=False)
    # np.linalg.norm squares into a copy first.
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    scaled: npt.NDArray[np.float32] = vectors * (1 / np.maximum(norms, SMALLEST_NORM))[:, None]
    return scaled
