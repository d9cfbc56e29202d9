"""Counts what the stages do, while they do it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Protocol

Figures = dict[str, float]
AddFigures = Callable[[str, Figures], Any]


STARTED_AT = "started_at"


class Counter(Protocol):
    """What stages tell of their work to: called with figures to add, asked whether a piece of work is new."""

    def __call__(self, stage: str, figures: Figures) -> Any:
        """Add figures to a stage's sums."""

    def begin(self, work: str) -> int:
        """Note that some work begins; returns how often it did before."""


class Tally:
    """Sums of figures by stage; runs as a Ray actor that workers report to and the driver reads.

    ``started_at`` is no sum: the time (seconds since 1970) of a stage's first word.
    """

    def __init__(self) -> None:
        self._stages: dict[str, Figures] = defaultdict(lambda: defaultdict(float))
        self._begun: dict[str, int] = defaultdict(int)

    def add(self, stage: str, figures: Figures) -> None:
        """Add figures to a stage's sums; without figures, only say that the stage has begun."""
        self._stages[stage].setdefault(STARTED_AT, time.time())
        for name, value in figures.items():
            self._stages[stage][name] += value

    def begin(self, work: str) -> int:
        """Note that some work begins; returns how often it did before, which is 0 unless a worker died of it."""
        self._begun[work] += 1
        return self._begun[work] - 1

    def read(self) -> dict[str, Figures]:
        """Copy the sums."""
        return {stage: dict(figures) for stage, figures in self._stages.items()}
