"""Trying again what may pass by itself, after pauses that grow and differ from process to process."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_before_delay

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long something is tried again.

    ``seconds`` for all attempts and pauses together, ``attempts`` in all (None: any number). The first pause is about
    ``first_pause`` seconds long, each later one about twice the one before, up to ``longest_pause``.
    """

    seconds: float = math.inf
    attempts: int | None = None
    first_pause: float = 0.25
    longest_pause: float = 20.0

    def pause(self, attempt: int) -> float:
        """Seconds to wait after an attempt, the first of which is 1; 50% to 150% of what doubling gives."""
        # The exponent is capped, since a float cannot hold 2 ** 1024.
        return min(self.longest_pause, self.first_pause * 2.0 ** min(attempt - 1, 60)) * random.uniform(0.5, 1.5)


def retry(
    work: Callable[[], T],
    patience: Patience,
    *,
    passing: Callable[[BaseException], bool],
    asked_pause: Callable[[BaseException], float | None] = lambda _error: None,
    on_retry: Callable[[], None] = lambda: None,
) -> T:
    """Call ``work`` until it succeeds, and return what it does.

    An exception that is not ``passing``, and the last one when the patience is used up (also where the next pause
    would outlast it), is raised as it is. ``asked_pause`` reads from an exception how many seconds the other side
    asked to wait, which replaces a shorter pause. ``on_retry`` is called before each pause.
    """

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = None if error is None else asked_pause(error)
        pause = patience.pause(state.attempt_number)
        return pause if asked is None else max(pause, asked + random.uniform(0, patience.first_pause))

    stop = stop_before_delay(patience.seconds)
    retrying = Retrying(
        retry=retry_if_exception(passing),
        wait=wait,
        stop=stop if patience.attempts is None else stop | stop_after_attempt(patience.attempts),
        before_sleep=lambda _state: on_retry(),
        reraise=True,
    )
    return retrying(work)
