"""What the stages had done at moments of a run: samples that are thinned out, so that they stay few."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.run.tally import FIRST_BLOCK, Figures

MOST_SAMPLES = 160
SUMS = ("rows", "tokens")


class Timeline:
    """Rows and tokens of each stage since the run began, sampled while it goes on.

    Where there are MOST_SAMPLES, every second one is dropped, and from then on they are taken half as often.
    """

    def __init__(self) -> None:
        self._samples: list[tuple[float, dict[str, tuple[int, int]]]] = []
        self._every = 0.0

    def add(self, seconds: float, stages: Mapping[str, Figures], *, last: bool = False) -> None:
        """Take the stages' sums as they are so long after the run began, if it is time; the ``last`` ones always."""
        if self._samples and not last and seconds < self._samples[-1][0] + self._every:
            return
        sums = {
            name: (int(figures.get("rows", 0)), int(figures.get("tokens", 0)))
            for name, figures in stages.items()
            if name != FIRST_BLOCK
        }
        self._samples.append((round(seconds, 1), sums))
        if len(self._samples) >= MOST_SAMPLES:
            span = self._samples[-1][0] - self._samples[0][0]
            # The first one stays, and the last.
            self._samples = [*self._samples[:-1:2], self._samples[-1]]
            # A look comes a little early or late.
            self._every = 0.99 * span / max(1, len(self._samples) - 1)

    def figures(self) -> dict[str, Any]:
        """``seconds`` of the samples, and ``rows`` and ``tokens`` by stage, (samples,) each: sums since the begin."""
        names = dict.fromkeys(name for _, sums in self._samples for name in sums)
        columns = {
            what: {name: [sums.get(name, (0, 0))[number] for _, sums in self._samples] for name in names}
            for number, what in enumerate(SUMS)
        }
        columns["tokens"] = {name: values for name, values in columns["tokens"].items() if values[-1]}
        return {"seconds": [seconds for seconds, _ in self._samples], **columns}
