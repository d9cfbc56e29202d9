"""Watches a run while receipts come in: refreshes the view and the report, and takes the last figures at the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property

from pipelines.run.engine import Engine
from pipelines.run.periodic import repeating
from pipelines.run.progress import ProgressView
from pipelines.run.report.file import RunningReport
from pipelines.run.report.report import RunReport
from pipelines.run.report.startup import StartUp
from pipelines.run.report.timeline import Timeline
from pipelines.run.tally import STARTED_AT, Figures, figures_of
from pipelines.urls import without_credentials

log = logging.getLogger("fleetembed")

SECONDS_BETWEEN_LOOKS = 1.0


@dataclass
class RunClock:
    """When a run began: by a clock that is never set, and by the wall clock, which workers go by too."""

    monotonic: float = field(default_factory=time.monotonic)

    @cached_property
    def wall(self) -> float:
        """The same moment in seconds since 1970."""
        return time.time() - (time.monotonic() - self.monotonic)

    def seconds(self) -> float:
        """Seconds since the run began."""
        return round(time.monotonic() - self.monotonic, 2)

    def seconds_until(self, moment: float) -> float:
        """Seconds from the run's begin to a moment of the wall clock (seconds since 1970)."""
        return round(moment - self.wall, 2)


@contextmanager
def watching(
    report: RunReport,
    file: RunningReport,
    engine: Engine,
    view: ProgressView,
    clock: RunClock,
    startup: StartUp,
    settled: Callable[[], float],
) -> Iterator[None]:
    """Refresh the view and the report's ``file``, once a second; ``settled`` are documents by receipts."""
    told = begun = False
    timeline = Timeline()
    timeline.add(clock.seconds(), {})

    def first_row(stages: Mapping[str, Figures]) -> float | None:
        began = (stages[name][STARTED_AT] for name in map(figures_of, report.embeddings) if name in stages)
        return min(began, default=None)

    def look() -> None:
        nonlocal told, begun
        stages = engine.counter.read()
        report.take_stages(stages)
        report.take_losses(engine.losses)
        report.seconds = clock.seconds()
        timeline.add(report.seconds, stages)
        report.timeline = timeline.figures()
        if not begun and (first := first_row(stages)) is not None:
            begun = True
            view.begin(clock.seconds_until(first))
        unwritten = file.save(asdict(report))
        if unwritten is not None and not told:
            told = True
            shown = without_credentials(file.path)
            log.warning("the report cannot be written to %s: %s; the run goes on", shown, unwritten)
        view.update(settled() + stages.get("skip", {}).get("documents", 0), report.tokens)

    try:
        with file, repeating(look, SECONDS_BETWEEN_LOOKS, "progress"):
            yield
    finally:
        stages = engine.counter.read()
        report.take_stages(stages)
        report.take_losses(engine.losses, at_end=True)
        timeline.add(clock.seconds(), stages, last=True)
        report.timeline = timeline.figures()
        if (first := first_row(stages)) is not None:
            report.startup_seconds = clock.seconds_until(first)
            report.startup = startup.with_workers(stages, first)
        view.update(settled() + stages.get("skip", {}).get("documents", 0), report.tokens)
