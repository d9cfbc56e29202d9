"""The write limits of a collection's strict mode: points a request, and points a minute."""

from __future__ import annotations

import math
import time
from typing import Any

from tests.qdrant_server.errors import ApiError, bad_request


class TokenBucket:
    """Qdrant's write rate limiter: ``capacity`` points at once, refilled at ``capacity`` points a minute."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._tokens = float(capacity)
        self._checked = time.monotonic()

    def consume(self, cost: int) -> None:
        """Take ``cost`` tokens.

        Raises 429 with Retry-After (whole seconds, rounded up) if there will be enough later, and without it if
        ``cost`` is more than the bucket ever holds.
        """
        prefix = "Rate limiting exceeded: Write rate limit exceeded"
        if cost > self.capacity:
            text = "request larger than rate limiter capacity, please try to split your request"
            raise ApiError(429, f"{prefix}, {text}")
        now = time.monotonic()
        self._tokens = min(self.capacity, self._tokens + (now - self._checked) * self.capacity / 60)
        self._checked = now
        if cost > self._tokens:
            seconds = math.ceil((cost - self._tokens) * 60 / self.capacity)
            text = (
                f"Operation requires {cost} tokens but only {self._tokens:.1f} were available. Retry after {seconds}s"
            )
            raise ApiError(429, f"{prefix}: {text}", headers={"Retry-After": str(seconds)})
        self._tokens -= cost


class WriteLimits:
    """Strict mode of one collection, as far as writes are concerned."""

    def __init__(self) -> None:
        self._bucket: TokenBucket | None = None

    def check_size(self, strict_mode: dict[str, Any] | None, points: int, what: str = "upsert limit") -> None:
        """Raise 400 if a request writes the vectors of more points than strict mode allows."""
        largest = (strict_mode or {}).get("upsert_max_batchsize")
        if strict_mode and strict_mode.get("enabled") and largest is not None and points > largest:
            raise bad_request(
                f'Limit exceeded {points} > {largest} for "{what}". '
                f'Help: Reduce the "{what}" parameter to or below {largest}.'
            )

    def charge(self, strict_mode: dict[str, Any] | None, points: int) -> None:
        """Raise 429 if a change of ``points`` points is more than strict mode's write rate allows."""
        rate = (strict_mode or {}).get("write_rate_limit")
        if not strict_mode or not strict_mode.get("enabled") or rate is None:
            return
        if self._bucket is None or self._bucket.capacity != rate:
            self._bucket = TokenBucket(rate)
        self._bucket.consume(points)
