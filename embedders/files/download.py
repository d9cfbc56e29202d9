"""What every download keeps to: its limits, which failures are tried again, and what an error may show.

Nothing here needs a network library, which a model in the cache does without.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar
from urllib.parse import urlsplit

from embedders.errors import FleetembedError
from embedders.retrying import Patience, retry

T = TypeVar("T")

LONGEST_PAUSE = 30.0
TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


class DownloadError(FleetembedError):
    """A download failed for good: trying again would fail the same way.

    ``status`` is the server's answer as a number of HTTP, where there was one.
    """

    def __init__(self, message: str, *, status: int | None = None):
        super().__init__(message)
        self.status = status


class TransientDownloadError(DownloadError):
    """A download failed in a way that time may mend; ``retry_after`` is the server's wish in seconds."""

    def __init__(self, message: str, retry_after: float | None = None):
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Timeouts:
    """Limits of one model's download, in seconds but for ``attempts``.

    ``read`` is the longest silence of a server, ``total`` the time for all files and retries together, ``attempts``
    how often a listing or a file is asked for, ``backoff`` about the first pause between attempts (it doubles).
    """

    connect: float = 10.0
    read: float = 30.0
    total: float = 3600.0
    attempts: int = 4
    backoff: float = 1.0

    @classmethod
    def from_env(cls) -> Timeouts:
        """Defaults, each overridden by ``FLEETEMBED_DOWNLOAD_<FIELD>`` where set. Raises FleetembedError."""
        values: dict[str, Any] = {}
        for item in fields(cls):
            variable = f"FLEETEMBED_DOWNLOAD_{item.name.upper()}"
            if text := os.environ.get(variable):
                values[item.name] = _positive(variable, text, whole=item.name == "attempts")
        return cls(**values)


class Deadline:
    """The time that one model's download has, which starts when this is made."""

    def __init__(self, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self._end = time.monotonic() + timeouts.total

    def remaining(self, place: str) -> float:
        """Seconds left; raises DownloadError, which names the place that is asked too late, where there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            limit = f"{self.timeouts.total:g} s (FLEETEMBED_DOWNLOAD_TOTAL)"
            raise DownloadError(f"{place}: the download took longer than {limit}")
        return left

    def retried(self, work: Callable[[], T], attempts: int | None = None) -> T:
        """Call ``work`` until it raises no TransientDownloadError; ``attempts`` replaces the limit of the timeouts."""
        patience = Patience(
            seconds=max(self._end - time.monotonic(), 0.0),
            attempts=attempts or self.timeouts.attempts,
            first_pause=self.timeouts.backoff,
            longest_pause=LONGEST_PAUSE,
        )
        return retry(
            work,
            patience,
            passing=lambda error: isinstance(error, TransientDownloadError),
            asked_pause=lambda error: getattr(error, "retry_after", None),
        )


def shown_url(url: object) -> str:
    """The URL without user, password and query, which may hold secrets."""
    parts = urlsplit(str(url))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _positive(variable: str, text: str, *, whole: bool) -> float:
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = 0
    if not value > 0:
        raise FleetembedError(f"environment variable {variable} is {text!r}: give a number above 0")
    return value
