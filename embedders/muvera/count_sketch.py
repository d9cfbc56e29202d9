"""Count sketch: vectors folded to fewer numbers, so that dot products stay the same on average."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class CountSketch:
    """Adds every number, times a random sign, to one of ``size`` random buckets.

    Charikar, Chen, Farach-Colton, "Finding Frequent Items in Data Streams" (2002).
    """

    size: int
    buckets: npt.NDArray[np.intp]
    signs: npt.NDArray[np.float64]

    @classmethod
    def draw(cls, source: int, size: int, random_seed: int) -> CountSketch:
        """Draw buckets and signs for vectors of ``source`` numbers."""
        # Another random stream than that of the planes and projections.
        generator = np.random.default_rng([random_seed, 1])
        buckets = generator.integers(0, size, size=source, dtype=np.intp)
        return cls(size, buckets, generator.choice([-1.0, 1.0], size=source))

    def fold(self, vectors: npt.NDArray[np.float32], out: npt.NDArray[np.float32]) -> None:
        """Fold (rows, source) into ``out``, (rows, size)."""
        for vector, folded in zip(vectors, out, strict=True):
            folded[...] = np.bincount(self.buckets, weights=vector * self.signs, minlength=self.size)
