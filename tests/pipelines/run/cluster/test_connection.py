"""Joining a Ray that is protected by a token, and a local Ray that a busy machine does not start in time."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import ROOT
from tests.waiting import SECONDS, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]

JOIN = """
from pipelines.config.compute import ComputeConfig
from pipelines.errors import WorkerError
from pipelines.run.cluster.connection import connect
try:
    with connect(ComputeConfig(address="{address}")) as machines:
        print(machines)
except WorkerError as error:
    print(error)
"""


class Guarded:
    """A Ray at ``address`` that asks for the token in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.token = folder, folder / "token"
        self.token.write_text(secrets.token_hex(32))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        options = ["--port", str(port), "--include-dashboard=false", "--num-cpus", "1", "--block"]
        store = ["--object-store-memory", str(80 << 20), "--temp-dir", str(folder / "ray")]
        self.process = subprocess.Popen(
            [str(Path(sys.executable).with_name("ray")), "start", "--head", *options, *store],
            env=self.environment(self.token),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def environment(self, token: Path | None) -> dict[str, str]:
        """The environment of a process with a token, or without any."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        # Ray asks so many times, a second each.
        kept |= {"RAY_NUM_REDIS_GET_RETRIES": "3", "HOME": str(self.folder), "RAY_USAGE_STATS_ENABLED": "0"}
        return kept if token is None else {**kept, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}

    def join(self, token: Path | None) -> str:
        """What a process says that joins with a token."""
        called = [sys.executable, "-c", JOIN.format(address=self.address)]
        done = subprocess.run(
            called, env=self.environment(token), cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=True
        )
        return done.stdout


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    # Not below pytest's folder: the names of Ray's sockets have 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="guarded-"))
    head = Guarded(folder)
    try:
        wait_until(lambda: "cpus=1.0" in head.join(head.token))
        yield head
    finally:
        family = psutil.Process(head.process.pid).children(recursive=True)
        head.process.terminate()
        for process in psutil.wait_procs(family, timeout=20)[1]:
            process.kill()
        head.process.wait(SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def test_who_has_no_token_or_another_is_told_what_to_set(guarded: Guarded, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(secrets.token_hex(32))
    for token in (None, other):
        told = guarded.join(token)
        assert told.startswith(
            f"the Ray at {guarded.address} is protected by a token, and this process has none, or an"
        )
        assert "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH" in told and "busy" not in told
        assert guarded.token.read_text() not in told and other.read_text() not in told


def test_a_token_file_that_is_not_there_is_named(guarded: Guarded, tmp_path: Path) -> None:
    told = guarded.join(tmp_path / "nowhere")
    assert f"file cannot be opened or is empty: {tmp_path / 'nowhere'}" in told and "busy" not in told


def start_late(late: int) -> dict[str, Any]:
    """What becomes of a job's Ray of which the first so many nodes come too late."""
    kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    called = [sys.executable, "-m", "tests.pipelines.run.cluster.late_ray", str(late)]
    done = subprocess.run(called, env=kept, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=True)
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return outcome


def test_a_ray_that_is_late_is_started_once_more_and_the_first_is_ended() -> None:
    assert start_late(1) == {
        "cpus": 1,
        "error": None,
        "raylets": 1,
        "nodes": 2,
        "messages": [
            "Ray was waited for, and its node was not ready within the 30 s that Ray allows it; starting it once more"
        ],
    }


def test_a_ray_that_is_late_twice_is_an_error_that_says_what_was_waited_for() -> None:
    outcome = start_late(9)
    assert (outcome["nodes"], outcome["raylets"], len(outcome["messages"])) == (2, 0, 1)
    assert "not ready within the 30 s that Ray allows it, 2 times in a row: this machine is busy" in outcome["error"]
