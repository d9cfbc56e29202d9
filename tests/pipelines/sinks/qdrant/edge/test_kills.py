"""Folders of engine edge whose process is killed at a random moment: nothing that was acknowledged is lost.

A timer of the process's own ends it, on the spot, so that a busy machine cannot make it come too late.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from pipelines.sinks.qdrant.client import open_folder
from tests.conftest import ROOT
from tests.pipelines.sinks import qdrant_help as qdrant
from tests.pipelines.sinks import rows
from tests.pipelines.sinks.qdrant.edge.engines import NAME, assert_same_answers
from tests.waiting import SECONDS

pytestmark = pytest.mark.slow
FACTS = rows.job(rows.ALL_KINDS)
DOCUMENTS, STEP, ROUNDS = 600, 20, 3
POINTS, DIM = 1300, 2048

# A run of a job over all documents: writes those that are not held, changes payloads, and says what is acknowledged.
JOB = f"""
import signal, sys
from tests.pipelines.sinks import qdrant_help as qdrant, rows
facts = rows.job(rows.ALL_KINDS)
sink = qdrant.opened(facts, path=sys.argv[1], engine="edge")
print("open", flush=True)
# Of CPU time: it is in the middle of its work then.
signal.setitimer(signal.ITIMER_PROF, float(sys.argv[2]))
writer = sink.connect()
for first in range(0, {DOCUMENTS}, {STEP}):
    table = rows.table(facts, rows.documents({STEP}, first=first))
    if not all(rows.held(writer, table)):
        assert not writer.write(table).rejected
    print(first + {STEP}, flush=True)
print(sink.finish(completed=True)["points"], flush=True)
"""

# Puts points into a new folder and builds their index, which takes seconds.
INDEX = f"""
import signal, sys
import numpy as np
from qdrant_client import models
from pipelines.sinks.qdrant.client import open_folder
client = open_folder(sys.argv[1], "edge")
if not client.collection_exists({NAME!r}):
    dense = models.VectorParams(size={DIM}, distance=models.Distance.DOT)
    client.create_collection({NAME!r}, vectors_config=dense)
    vectors = np.random.default_rng(5).standard_normal(({POINTS}, {DIM})).astype(np.float32)
    for first in range(0, {POINTS}, 100):
        ids = list(range(first, first + 100))
        client.upsert({NAME!r}, models.Batch(ids=ids, vectors=vectors[ids].tolist()))
print("written", flush=True)
signal.setitimer(signal.ITIMER_REAL, float(sys.argv[2]))
client.build_indexes({NAME!r})
print("built", flush=True)
client.close()
"""


def killed(script: str, folder: Path, after: float, first: str) -> list[str]:
    """Run a script, which is killed so many seconds after it said ``first``; returns what it said."""
    command = [sys.executable, "-W", "ignore", "-c", script, str(folder), str(after)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=SECONDS, check=False)
    said = [line.strip() for line in done.stdout.splitlines(keepends=True) if line.endswith("\n")]
    assert said[0] == first and done.returncode in (-signal.SIGPROF, -signal.SIGALRM)
    return said


def test_a_job_that_is_killed_at_random_moments_ends_exactly_once(tmp_path: Path) -> None:
    random = Random(11)
    folder = tmp_path / "a földer"
    whole = rows.table(FACTS, rows.documents(DOCUMENTS))
    for _ in range(ROUNDS):
        said = killed(JOB, folder, random.uniform(0.02, 0.7), "open")
        acknowledged = int(said[-1]) if len(said) > 1 else 0
        start = time.process_time()
        sink = qdrant.opened(FACTS, path=str(folder))
        writer = sink.connect()
        assert all(rows.held(writer, whole.slice(0, acknowledged)))
        # Of a process that was killed, the log is done again.
        assert time.process_time() - start < 5
        sink.finish(completed=False)
    assert qdrant.run(FACTS, whole, path=str(folder))["points"] == DOCUMENTS
    undisturbed = qdrant.run(FACTS, whole, path=str(tmp_path / "undisturbed"))
    assert undisturbed["points"] == DOCUMENTS
    clients = [open_folder(str(tmp_path / name)) for name in ("a földer", "undisturbed")]
    found = [qdrant.points(client, vectors=True) for client in clients]
    assert {name: (point.id, point.payload) for name, point in found[0].items()} == {
        name: (point.id, point.payload) for name, point in found[1].items()
    }
    query = rows.dense_of("text number 7").tolist()
    answers = [client.query_points(qdrant.NAME, query=query, using="dense", limit=50).points for client in clients]
    assert_same_answers(*answers)
    for client in clients:
        client.close()


def test_building_an_index_that_is_killed_loses_no_point_and_holds_no_folder(tmp_path: Path) -> None:
    random = Random(12)
    for _ in range(ROUNDS):
        said = killed(INDEX, tmp_path / "store", random.uniform(0.1, 0.6), "written")
        start = time.process_time()
        client: Any = open_folder(str(tmp_path / "store"))
        assert client.count(NAME).count == POINTS
        assert time.process_time() - start < 5
        client.close()
        assert said == ["written"]
    client = open_folder(str(tmp_path / "store"))
    client.build_indexes(NAME)
    assert client.get_collection(NAME).indexed_vectors_count == POINTS
    # Nor does it leave what nobody needs.
    assert not list(tmp_path.glob("store/shards/1/temp_segments/*"))
    vectors = np.random.default_rng(5).standard_normal((POINTS, DIM)).astype(np.float32)
    exact = models.SearchParams(exact=True)
    for number in (0, POINTS // 2, POINTS - 1):
        best = np.argsort(-(vectors @ vectors[number]))[:5].tolist()
        found = client.query_points(NAME, query=vectors[number], limit=5, search_params=exact).points
        assert [point.id for point in found] == best
    client.close()
