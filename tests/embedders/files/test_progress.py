"""What a user sees of a download: a bar on a terminal, lines elsewhere; from Python, from the command, in a worker."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

from tests.embedders.files.hub_models import NEEDED, RESOLVE, ROOT, on_a_terminal, resolve
from tests.hub_server import HubServer
from tests.waiting import SECONDS

pytest_plugins = ["tests.embedders.files.hub_fixtures"]
pytestmark = pytest.mark.usefixtures("isolated_caches")

SIZE = sum(map(len, NEEDED.values()))
START = (
    "model Org/Small: downloading tokenizer_config.json, tokenizer.json, onnx/model.onnx_data, onnx/model.onnx "
    f"({SIZE} bytes) from org/small"
)


def elsewhere(*command: str, **variables: str) -> str:
    """What a process writes to standard error, where that is no terminal."""
    done = subprocess.run(
        command, cwd=ROOT, check=True, timeout=SECONDS, capture_output=True, text=True, env={**os.environ, **variables}
    )
    return done.stderr


def test_a_terminal_shows_a_bar_for_each_file(hub: HubServer, cache: Path) -> None:
    shown = on_a_terminal(sys.executable, "-c", RESOLVE, str(cache))
    for name, content in NEEDED.items():
        # Bytes, speed and file.
        assert re.search(rf"Org/Small {re.escape(name)}: .*/{len(content)}", shown), shown
    assert "B/s]" in shown and "downloading" not in shown


def test_a_program_without_logging_says_lines_on_standard_error(hub: HubServer, cache: Path) -> None:
    lines = elsewhere(sys.executable, "-c", RESOLVE, str(cache)).splitlines()
    assert lines[0] == START
    assert re.fullmatch(r"model Org/Small: downloaded in \d+ s", lines[-1])


@pytest.mark.parametrize("show", [on_a_terminal, elsewhere])
def test_nothing_is_shown_where_the_user_wants_no_bars(hub: HubServer, cache: Path, show: object) -> None:
    assert callable(show)
    assert show(sys.executable, "-c", RESOLVE, str(cache), HF_HUB_DISABLE_PROGRESS_BARS="1") == ""


def test_lines_go_to_the_log_that_is_set_up(hub: HubServer, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="fleetembed")
    resolve(cache)
    assert caplog.messages[0] == START
    assert re.fullmatch(r"model Org/Small: downloaded in \d+ s", caplog.messages[-1])
    caplog.clear()
    resolve(cache)
    assert caplog.messages == []


def test_a_long_download_says_how_far_it_is(
    hub: HubServer, cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedders.files.progress.SECONDS_BETWEEN_LINES", 0.0)
    caplog.set_level(logging.INFO, logger="fleetembed")
    resolve(cache)
    assert any(
        re.fullmatch(r"model Org/Small onnx/model\.onnx_data: 256B of 256B, \S+B/s", message)
        for message in caplog.messages
    ), caplog.messages


@pytest.fixture
def no_bars() -> Iterator[None]:
    disable_progress_bars()
    yield
    enable_progress_bars()


def test_the_librarys_own_switch_is_heeded(
    hub: HubServer, cache: Path, caplog: pytest.LogCaptureFixture, no_bars: None
) -> None:
    caplog.set_level(logging.INFO, logger="fleetembed")
    resolve(cache)
    assert caplog.messages == []


IN_A_WORKER = """
import sys
import ray
ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=True)

@ray.remote
def work(script, cache):
    sys.argv = ["", cache]
    exec(script, {})

ray.get(work.remote(sys.argv[1], sys.argv[2]))
ray.shutdown()
"""


@pytest.mark.ray
def test_a_jobs_worker_says_lines_that_ray_keeps(hub: HubServer, cache: Path) -> None:
    said = elsewhere(sys.executable, "-c", IN_A_WORKER, RESOLVE, str(cache), PYTHONPATH=str(ROOT))
    assert START in said
