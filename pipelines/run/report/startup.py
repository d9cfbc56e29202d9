"""What a run's start-up is made of: its parts, one after the other, each with its seconds."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pipelines.run.tally import FIRST_BLOCK, STARTED_AT, Figures

log = logging.getLogger("fleetembed")

IMPORTS = "imports"
# Parts that processes of the engine tell, after those that the driver clocks.
WORKERS, MODELS = "workers", "models"
# Sooner than this, nobody wonders what a job does.
SECONDS_WORTH_A_LINE = 1.0


def process_began() -> float | None:
    """When this process began, by ``time.monotonic``; None where the system does not tell it so."""
    with suppress(OSError, ValueError, AttributeError, IndexError):
        ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return time.monotonic() - max(0.0, age)
    return None


class StartUp:
    """The parts of a start-up, in seconds by name; each lasts from the end of the one before it to its own end.

    ``began`` is when the first of them did, by ``time.monotonic``. They are: ``imports`` of a command; ``checks`` of
    the models, the source and the sinks; ``reading`` of a source by Ray before it is embedded; ``engine``, which is
    Ray's start; ``preparation`` of nodes; ``scan`` of the source; ``lengths``, where averages are measured; ``sinks``,
    which are opened; ``tried_here``, where this process began and left it to Ray; ``workers``, until a block came to
    one that has models; ``models``, until these were loaded.
    """

    def __init__(self, began: float) -> None:
        self.seconds: dict[str, float] = {}
        self.began = self._last = began

    def end(self, part: str) -> None:
        """Let a part end now, and log its seconds where it took a while; one that is done again goes on."""
        now = time.monotonic()
        took = now - self._last
        self.seconds[part] = round(self.seconds.get(part, 0.0) + took, 2)
        self._last = now
        if took >= SECONDS_WORTH_A_LINE:
            log.info("start-up: %s took %.1f s", part, took)

    def with_workers(self, stages: Mapping[str, Figures], first_row: float | None) -> dict[str, float]:
        """The parts and those after them: until a block came to a worker, and until it had loaded its models.

        ``stages`` are the stages' figures, and ``first_row`` is when a row first reached a model (seconds since 1970).
        """
        block = stages.get(FIRST_BLOCK, {}).get(STARTED_AT)
        if block is None or first_row is None:
            return self.seconds
        ended = time.time() - (time.monotonic() - self._last)
        # Clocks of machines may differ.
        last = {WORKERS: max(0.0, block - ended), MODELS: max(0.0, first_row - block)}
        return {**self.seconds, **{name: round(seconds, 2) for name, seconds in last.items()}}
