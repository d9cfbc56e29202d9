from __future__ import annotations

import pytest

from pipelines.sinks import parquet, qdrant_folder


@pytest.fixture(autouse=True)
def _ray_only_where_marked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests that are not about Ray from meeting the one that an earlier test of the session started."""
    if request.node.get_closest_marker("ray") is None:
        for module in (parquet, qdrant_folder):
            monkeypatch.setattr(module, "running_ray", lambda: None)
