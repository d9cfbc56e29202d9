"""What stages did in each second, by the samples of a report's timeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.run.report.page.numbers import is_number, number

MOST_STEPS = 60
# With fewer samples there is no curve.
LEAST_SAMPLES = 4

Floats = npt.NDArray[np.float64]


def samples_of(report: Mapping[str, Any], what: str = "rows") -> tuple[Floats, dict[str, Floats]]:
    """Read a report's timeline: seconds since the begin, ascending, and each stage's sums at these; empty without one.

    What is no timeline is left out.
    """
    timeline = report.get("timeline")
    seconds = timeline.get("seconds") if isinstance(timeline, dict) else None
    if not isinstance(seconds, list) or len(seconds) < LEAST_SAMPLES or not all(map(is_number, seconds)):
        return np.zeros(0), {}
    stages = timeline.get(what) if isinstance(timeline, dict) else None
    sums = {
        str(name): np.maximum.accumulate(np.array([number(value) for value in values], np.float64))
        for name, values in (stages if isinstance(stages, dict) else {}).items()
        if isinstance(values, list) and len(values) == len(seconds)
    }
    return np.maximum.accumulate(np.array(seconds, np.float64)), {name: had for name, had in sums.items() if had[-1]}


def rates(seconds: Floats, sums: Floats, edges: Floats, began: float) -> Floats:
    """Rows a second between ``edges`` of time.

    Stages tell of a block when it is done: its rows were made since the one before it was, the first block's since the
    stage was last seen without any, or since ``began`` if that is earlier.
    """
    told = np.flatnonzero(np.diff(sums) > 0) + 1
    if not len(told):
        return np.zeros(len(edges) - 1)
    before = float(seconds[told[0] - 1])
    start = min(before, began) if began > 0 else before
    times, counts = np.append(start, seconds[told]), np.append(sums[told[0] - 1], sums[told])
    made: Floats = np.diff(np.interp(edges, times, counts)) / np.maximum(np.diff(edges), 1e-9)
    return made


def time_edges(seconds: Sequence[float] | Floats) -> Floats:
    """Cut a run's time into equal steps, no finer than its samples are."""
    steps = min(MOST_STEPS, len(seconds) - 1)
    edges: Floats = np.linspace(0.0, max(float(seconds[-1]), 1e-6), steps + 1)
    return edges
