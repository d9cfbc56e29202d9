"""How batches are run: what is for GPUs by default, and may be switched for measurements and tests."""

from __future__ import annotations

from dataclasses import dataclass

# Batches that are prepared while others run.
AHEAD = 2
# Lengths of short texts are multiples of so many tokens.
STEP = 4


@dataclass(frozen=True)
class BatchSettings:
    """How batches are run; None is what suits the device: all of it on a GPU, nothing on a CPU, where it costs time.

    ``reduce_on_device`` pools, cuts and converts where the model ran, instead of with NumPy. ``buckets`` rounds the
    shapes of batches up to few: ``step`` is the multiple of tokens that short texts are filled up to. ``ahead`` batches
    are prepared in threads while others run; 0 runs them one after the other. No vector depends on any of it, within
    float tolerance.
    """

    reduce_on_device: bool | None = None
    buckets: bool | None = None
    ahead: int | None = None
    step: int = STEP

    def resolved(self, *, on_gpu: bool) -> BatchSettings:
        """The same with nothing left open."""
        return BatchSettings(
            on_gpu if self.reduce_on_device is None else self.reduce_on_device,
            on_gpu if self.buckets is None else self.buckets,
            AHEAD * on_gpu if self.ahead is None else self.ahead,
            self.step,
        )
