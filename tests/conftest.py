"""Fixtures shared by all tests: where outside data and real model weights are."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedders.files.cache import cache_root

# Where tests marked ``hub`` look for models.
USER_CACHE = cache_root()

# Nothing a test does may read or fill the user's own cache of models; child processes inherit this.
os.environ["FLEETEMBED_CACHE_DIR"] = tempfile.mkdtemp(prefix="fleetembed-tests-")

ROOT = Path(__file__).resolve().parent.parent

pytest_plugins = ["tests.qdrant_server.fixtures", "tests.model_fixtures", "tests.image_model_fixtures"]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real corpora and reference vectors; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("FLEETEMBED_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the folder of real data at {folder} (set FLEETEMBED_SHARED)")
    return folder


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    """A Ray of the tests' own, started once."""
    import ray

    ray.init(address="local", num_cpus=4, include_dashboard=False, object_store_memory=200 << 20, log_to_driver=False)
    yield
    ray.shutdown()
