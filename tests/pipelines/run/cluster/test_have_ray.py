"""A Ray for a user to go on with is none that the run of another thread has to itself, and ends."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import ray

from pipelines.config.compute import ComputeConfig
from pipelines.run.cluster import connection


def test_the_run_of_another_thread_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    is_there, started = threading.Event(), list[dict[str, Any]]()
    monkeypatch.setattr(ray, "is_initialized", is_there.is_set)
    monkeypatch.setattr(connection, "begin", lambda arguments, **_: started.append(arguments))
    asking = threading.Thread(target=connection.have_ray, args=(ComputeConfig(cpus=3),))
    with connection._turn():
        is_there.set()
        asking.start()
        asking.join(0.2)
        assert asking.is_alive() and not started
        is_there.clear()
    asking.join(10)
    assert [arguments["num_cpus"] for arguments in started] == [3]
