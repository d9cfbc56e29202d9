"""Count sketch: vectors folded to fewer numbers, so that dot products stay the same on average."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedders.fixed_dimensional_encoding import Floats, Places, sum_runs


@dataclass(frozen=True)
class CountSketch:
    """Adds every number, with a random sign, to one of ``size`` random places.

    Charikar, Chen, Farach-Colton, "Finding Frequent Items in Data Streams" (2002). Places are held as runs: the numbers
    ``order[starts[i]:starts[i] + counts[i]]`` go to ``targets[i]``, those of most numbers first.
    """

    size: int
    signs: Floats
    order: Places
    starts: Places
    counts: Places
    targets: Places

    @classmethod
    def draw(cls, source: int, size: int, random_seed: int) -> CountSketch:
        """Draw places and signs for vectors of ``source`` numbers."""
        # A stream of its own beside that of the planes and projections.
        generator = np.random.default_rng([random_seed, 1])
        places = generator.integers(0, size, size=source)
        signs = generator.choice([-1, 1], size=source).astype(np.float32)
        loads = np.bincount(places, minlength=size)
        targets = np.argsort(-loads, kind="stable")[: np.count_nonzero(loads)]
        starts = np.cumsum(loads) - loads
        return cls(size, signs, np.argsort(places, kind="stable"), starts[targets], loads[targets], targets)

    def fold(self, vectors: npt.NDArray[np.float32]) -> Floats:
        """Fold (rows, source) to (rows, size)."""
        folded = np.zeros((len(vectors), self.size), dtype=np.float32)
        signed = vectors.T * self.signs[:, None]
        folded[:, self.targets] = sum_runs(signed, self.order, self.starts, self.counts).T
        return folded
