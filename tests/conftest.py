"""Fixtures shared by all tests: where outside data and real model weights are."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

from embedders.files.cache import cache_root

# Where tests marked ``hub`` look for models.
USER_CACHE = cache_root()

# Nothing a test does may read or fill the user's own cache of models; child processes inherit this.
os.environ["FLEETEMBED_CACHE_DIR"] = tempfile.mkdtemp(prefix="fleetembed-tests-")

# A shell that starts the tests in the background has them ignore SIGINT, and their children inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Processes of one run of the tests share the cores: each gets its own, since models whose threads wait for one another
# in busy loops would slow all of them down.
ALL_CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
if (worker := os.environ.get("PYTEST_XDIST_WORKER", "")[2:]).isdigit() and ALL_CORES:
    os.sched_setaffinity(0, {sorted(ALL_CORES)[int(worker) % len(ALL_CORES)]})


@contextmanager
def all_cores() -> Iterator[None]:
    """Let what is started meanwhile, a Ray for instance, run on every core; this process goes on with its own."""
    if not ALL_CORES:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, ALL_CORES)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# No test is timed: a machine that does other things would fail it. For `make check-fast` there is a profile with fewer
# draws of each property; the whole suite draws them in full.
settings.register_profile("default", deadline=None)
settings.register_profile("fast", deadline=None, max_examples=25)
settings.load_profile("default")

ROOT = Path(__file__).resolve().parent.parent

pytest_plugins = ["tests.qdrant_server.fixtures", "tests.model_fixtures", "tests.image_model_fixtures"]


# A test that takes such a fixture starts what the marker tells of; `make check-fast` leaves these tests out.
MARKED_FIXTURES = {
    "ray_local": "ray",
    "qdrant_server": "server",
    "guarded_qdrant_server": "server",
    "qdrant_address": "server",
    "qdrant_url": "server",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in MARKED_FIXTURES:
                item.add_marker(MARKED_FIXTURES[fixture])
    # Files are handed out in this order: at the end of a run there shall be short ones for whichever process is idle.
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _log_level_of_others() -> Iterator[None]:
    """Commands that run in this process set how much is logged."""
    logger = logging.getLogger("fleetembed")
    before = logger.level
    yield
    logger.setLevel(before)


@pytest.fixture(autouse=True)
def _only_marked_tests_start_a_ray(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = sys.modules.get("ray")
    if ray is not None and request.node.get_closest_marker("ray") is None:
        monkeypatch.setattr(ray, "init", _refuse_ray)


def _refuse_ray(*_: object, **__: object) -> None:
    raise AssertionError("this test starts a Ray: mark it with pytest.mark.ray")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real corpora and reference vectors; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("FLEETEMBED_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the folder of real data at {folder} (set FLEETEMBED_SHARED)")
    return folder


@pytest.fixture(scope="session")
def _left_ray() -> Iterator[None]:
    """Leaves the tests' own Ray in the end."""
    import ray

    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def ray_local(_left_ray: None) -> None:
    """A Ray of the tests' own: the one that is there, unless a file with a cluster of its own has left it since.

    It does without agents and other onlookers, which cost it ten CPU seconds and serve no test.
    """
    import ray

    if ray.is_initialized():
        return
    from pipelines.run.cluster.lone_ray import without_onlookers

    about = {"include_dashboard": False, "object_store_memory": 200 << 20, "log_to_driver": False}
    with all_cores(), without_onlookers():
        ray.init(address="local", num_cpus=4, **about)
