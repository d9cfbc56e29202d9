"""A few rounds of each sink with fixed plans; ``python -m tests.chaos`` draws as many as one likes.

A killed node is the matter of ``tests/cluster/test_nodes_lost.py``, and a killed reader of a job that fills a folder
that of ``test_read_task_lost.py`` beside it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.chaos.job import SinkKind
from tests.chaos.rounds import Harness, Plan

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ATTEMPTS = 3
ROWS = 600


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, which stays where a test fails."""
    made = Path(tempfile.mkdtemp(prefix="fe-", dir="/tmp"))
    yield made
    shutil.rmtree(made)


def plan(victim: str, after: float, *, chunked: bool = False) -> Plan:
    return Plan(victim, on_nodes=False, chunked=chunked, kills=1, after=after, pause=0.1)


def carry_out(folder: Path, kind: SinkKind, plan: Plan) -> None:
    with Harness(folder, kind, rows=ROWS) as harness:
        # On a fast machine a job may be over before the moment comes.
        for number in range(ATTEMPTS):
            outcome = harness.carry_out(number, plan, Random(number))
            assert outcome["ok"], json.dumps(outcome, indent=2)
            # By the last run, of which little is done twice.
            assert outcome["embedded"] < 1.2 * outcome["points"]
            if outcome["killed"][0]["victim"] == plan.victim:
                return
        raise AssertionError(f"the job was over {ATTEMPTS} times before {plan.victim} was killed")


def test_parquet_after_a_killed_driver(folder: Path) -> None:
    carry_out(folder, "parquet", plan("driver", 0.4, chunked=True))


def test_a_qdrant_folder_after_its_host_was_killed(folder: Path) -> None:
    carry_out(folder, "folder", plan("host", 0.2))


@pytest.mark.server
def test_a_server_after_a_killed_embed_actor(folder: Path) -> None:
    carry_out(folder, "server", plan("embed", 0.3))
