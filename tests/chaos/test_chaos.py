"""A few rounds of each sink with fixed plans; ``python -m tests.chaos`` draws as many as one likes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.chaos.rounds import Harness, Plan

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, which stays where a test fails."""
    made = Path(tempfile.mkdtemp(prefix="fe-", dir="/tmp"))
    yield made
    shutil.rmtree(made)


def carry_out(folder: Path, kind: str, *plans: Plan) -> None:
    with Harness(folder, kind, rows=500) as harness:  # type: ignore[arg-type]
        for number, plan in enumerate(plans):
            outcome = harness.carry_out(number, plan, Random(number))
            assert outcome["ok"], json.dumps(outcome, indent=2)
            assert outcome["killed"][0]["victim"] == plan.victim, "the job was over before anything was killed"


def test_parquet_after_a_killed_driver_and_a_killed_node(folder: Path) -> None:
    driver = Plan("driver", on_nodes=False, chunked=True, kills=1, after=0.4, pause=0.1)
    raylet = Plan("raylet", on_nodes=True, chunked=False, kills=1, after=0.2, pause=0)
    carry_out(folder, "parquet", driver, raylet)


def test_a_qdrant_folder_after_its_host_was_killed(folder: Path) -> None:
    carry_out(folder, "folder", Plan("host", on_nodes=False, chunked=False, kills=1, after=0.3, pause=0.1))


@pytest.mark.server
def test_a_server_after_a_killed_embed_actor(folder: Path) -> None:
    carry_out(folder, "server", Plan("embed", on_nodes=False, chunked=False, kills=1, after=0.3, pause=0.1))
