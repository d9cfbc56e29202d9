"""Counts what the stages of a run do, while they do it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from threading import Lock
from typing import Any, Protocol

import xxhash

Figures = dict[str, float]

STARTED_AT = "started_at"
# No stage: its ``started_at`` is when the first block came to a worker that has models.
FIRST_BLOCK = "first block"
# Blocks that a model was given; a block that was given to it again counts again.
BLOCKS = "blocks"
# Rows that took an embedding's vectors from the cache.
CACHED = "cached"
# Texts of at most so many tokens, and more than the bin before holds (`embedders.length_counts`): ``length 128``.
LENGTH = "length "
# What read tasks read that were run again, which the figures of reading hold twice.
REREAD_DOCUMENTS, REREAD_ROWS = "reread_documents", "reread_rows"
# The figures of what writes dead rows; those of a sink begin in the same way.
DEAD_LETTERS = "write dead letters"


def figures_of(embedding: str) -> str:
    """The name of an embedding's figures: its own, unless figures of another stage may have it."""
    taken = embedding in ("read", "skip") or embedding.startswith("write ")
    return f"embed {embedding}" if taken else embedding


def short_name(data: bytes) -> str:
    """A short name for a piece of work."""
    return str(xxhash.xxh3_64_hexdigest(data))


class Counter(Protocol):
    """Adds up the figures that stages report, and knows what was begun and decided before a worker was lost."""

    def __call__(self, stage: str, figures: Figures) -> Any:
        """Add figures to a stage's sums; without figures, only say that the stage has begun."""

    def begin(self, work: str) -> int:
        """Note that some work begins; returns how often it did before: 0 unless a worker, or its results, were lost."""

    def decide(self, question: str, answer: bytes) -> tuple[bytes, bool]:
        """Take an answer, unless this task gave another one before its worker, or its results, were lost.

        Returns the answer that holds, and whether it is new. A task that is run again has to give the very tables that
        it gave the first time, since some of them may be on their way, and only those that are missing are taken.
        """

    def read(self) -> dict[str, Figures]:
        """Copy the sums by stage."""


class Tally:
    """Sums of figures by stage, in this process.

    ``started_at`` is no sum: the time (seconds since 1970) at which a stage first reported. ``also`` is told each
    stage's figures as they come.
    """

    def __init__(self, also: Callable[[str, Figures], None] | None = None) -> None:
        self._also = also
        self._stages: dict[str, Figures] = defaultdict(lambda: defaultdict(float))
        self._begun: dict[str, int] = defaultdict(int)
        # Stages add while the progress is shown from another thread.
        self._lock = Lock()

    def __call__(self, stage: str, figures: Figures) -> None:
        """See Counter."""
        with self._lock:
            self._stages[stage].setdefault(STARTED_AT, time.time())
            for name, value in figures.items():
                self._stages[stage][name] += value
            if self._also is not None and stage != FIRST_BLOCK:
                self._also(stage, figures)

    def begin(self, work: str) -> int:
        """See Counter."""
        with self._lock:
            self._begun[work] += 1
            return self._begun[work] - 1

    def begin_anew(self) -> None:
        """Forget what was begun."""
        with self._lock:
            self._begun.clear()

    def decide(self, question: str, answer: bytes) -> tuple[bytes, bool]:
        """See Counter; nothing is run twice in one process."""
        return answer, True

    def read(self) -> dict[str, Figures]:
        """See Counter."""
        with self._lock:
            return {stage: dict(figures) for stage, figures in self._stages.items()}
