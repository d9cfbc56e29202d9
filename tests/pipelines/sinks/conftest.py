from __future__ import annotations

import pytest

from pipelines.sinks.parquet import sink as parquet
from pipelines.sinks.qdrant import folder_host


@pytest.fixture(autouse=True)
def _ray_only_where_marked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests that are not about Ray from meeting the one that an earlier test of the session started."""
    if request.node.get_closest_marker("ray") is None:
        for module in (parquet, folder_host):
            monkeypatch.setattr(module, "running_ray", lambda: None)
