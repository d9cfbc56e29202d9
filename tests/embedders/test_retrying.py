from __future__ import annotations

import math
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedders.retrying import Patience, retry

QUICK = Patience(seconds=20, first_pause=0.001, longest_pause=0.01)


def failing(times: int, error: Exception) -> Callable[[], int]:
    """Something that fails so often and then gives the number of its calls."""
    calls = 0

    def work() -> int:
        nonlocal calls
        calls += 1
        if calls <= times:
            raise error
        return calls

    return work


def is_os_error(error: BaseException) -> bool:
    return isinstance(error, OSError)


def test_what_passes_by_itself_is_tried_until_it_succeeds() -> None:
    retries: list[None] = []
    found = retry(failing(5, OSError("busy")), QUICK, passing=is_os_error, on_retry=lambda: retries.append(None))
    assert found == 6
    assert len(retries) == 5


def test_another_error_is_raised_at_once() -> None:
    retries: list[None] = []
    with pytest.raises(ValueError, match="wrong"):
        retry(failing(1, ValueError("wrong")), QUICK, passing=is_os_error, on_retry=lambda: retries.append(None))
    assert retries == []


def test_the_last_error_is_raised_when_the_attempts_are_used_up() -> None:
    retries: list[None] = []
    with pytest.raises(OSError, match="busy"):
        retry(
            failing(9, OSError("busy")),
            Patience(attempts=3, first_pause=0.001),
            passing=is_os_error,
            on_retry=lambda: retries.append(None),
        )
    assert len(retries) == 2


def test_a_pause_that_would_outlast_the_patience_is_not_begun() -> None:
    started = time.monotonic()
    with pytest.raises(OSError, match="busy"):
        retry(failing(9, OSError("busy")), Patience(seconds=5), passing=is_os_error, asked_pause=lambda _error: 60.0)
    assert time.monotonic() - started < 5


def test_the_pause_that_is_asked_for_is_kept() -> None:
    started = time.monotonic()
    retry(failing(1, OSError("busy")), QUICK, passing=is_os_error, asked_pause=lambda _error: 0.2)
    assert time.monotonic() - started >= 0.2


@given(st.integers(1, 10**6), st.floats(0.001, 10), st.floats(0.001, 100))
def test_a_pause_grows_to_the_longest_and_no_further(attempt: int, first: float, longest: float) -> None:
    pause = Patience(first_pause=first, longest_pause=longest).pause(attempt)
    assert 0 < pause <= 1.5 * longest
    if attempt < 60:
        assert math.isfinite(pause) and pause >= 0.5 * min(longest, first * 2 ** (attempt - 1)) * (1 - 1e-9)
