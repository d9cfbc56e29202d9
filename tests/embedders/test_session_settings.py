from __future__ import annotations

from typing import Any

import pytest

from embedders.cores import available_cores
from embedders.session_settings import SessionSettings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threads": 0}, "threads"),
        ({"cuda": "gpu"}, "'gpu'"),
    ],
)
def test_contradictory_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SessionSettings(**settings)


def test_threads_default_to_the_cores_there_are() -> None:
    assert SessionSettings().effective_threads == available_cores() >= 1
    assert SessionSettings(threads=3).effective_threads == 3
