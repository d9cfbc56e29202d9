"""What a job's own Ray leaves behind: nothing after a run, and of a killed one nothing after the next."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipelines.run.cluster.leftovers import clear
from tests.conftest import ROOT
from tests.e2e.jobs import Job, Row, parquet_points
from tests.waiting import SECONDS, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow]
COMMAND = [sys.executable, str(ROOT / "jobs" / "embed_corpus.py")]
FOREIGN = "session_2026-01-01_00-00-00_000000_1"


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A temporary folder that has another Ray's session in it; its path is short, for the sake of Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="fe-", dir="/tmp"))
    (folder / "ray" / FOREIGN / "logs").mkdir(parents=True)
    (folder / "ray" / "session_latest").symlink_to(folder / "ray" / FOREIGN)
    (folder / "ray" / "ray_current_cluster").write_text("10.0.0.1:6379")
    (folder / "fe-ray-another" / FOREIGN).mkdir(parents=True)
    yield folder
    assert (folder / "ray" / FOREIGN / "logs").is_dir() and (folder / "fe-ray-another" / FOREIGN).is_dir()
    assert (folder / "ray" / "session_latest").is_symlink() and (folder / "ray" / "ray_current_cluster").exists()
    shutil.rmtree(folder)


@pytest.fixture
def job(tmp_path: Path, minilm: Path, stdlib_rows: list[Row]) -> Job:
    made = Job(tmp_path, minilm, [{"type": "parquet", "path": str(tmp_path / "out")}], engine="ray")
    made.write(stdlib_rows[:300])
    return made


def start(job: Job, temporary: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "--config", str(job.config_file())],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "RAY_TMPDIR": str(temporary)},
    )


def committed(job: Job) -> int:
    return len(list((job.folder / "out").glob("part-*.parquet")))


def own_folders(temporary: Path) -> list[Path]:
    return [path for path in temporary.glob("fe-ray-*") if path.name != "fe-ray-another"]


def users(folder: Path) -> list[str]:
    """Processes that have a file of a folder open."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(file.path.startswith(f"{folder}/") for file in process.open_files()):
                found.append(process.name())
        except (psutil.Error, OSError):
            continue
    return found


def test_a_killed_driver_leaves_what_the_next_run_clears_and_that_one_does_little_twice_and_leaves_nothing(
    job: Job, temporary: Path, stdlib_rows: list[Row]
) -> None:
    rows = stdlib_rows[:300]
    child = start(job, temporary)
    wait_for(child, lambda: committed(job) * 16 >= len(rows) // 2)
    (left,) = own_folders(temporary)
    # Looking at all processes takes a while, in which the run is not to end.
    child.send_signal(signal.SIGSTOP)
    clear(temporary)
    assert users(left), "a folder in use was cleared"
    child.kill()
    child.communicate()
    first = job.report["rows"]["embedded"]
    assert users(left), "without processes that outlive the driver this test shows nothing"
    again = start(job, temporary)
    # Its Ray starts after the clearing, and says so by the first file.
    wait_for(again, lambda: not left.exists())
    assert not users(left)
    output = again.communicate(timeout=SECONDS)[0]
    assert again.returncode == 0, output
    assert f"cleared {left}, which a run that was killed had left" in output
    assert parquet_points(job.folder / "out").keys() == {row["id"] for row in rows}
    counts = job.report["rows"]
    assert counts["skipped"] >= len(rows) // 2 - 16
    # The killed run's last report is at most a second old: what it embedded since then is in its committed files.
    assert max(first, counts["skipped"]) + counts["embedded"] < 1.2 * len(rows)
    assert own_folders(temporary) == [] and users(temporary) == []


def test_logs_of_a_failed_run_stay_a_day_and_the_message_says_where(job: Job, temporary: Path) -> None:
    job.extra = {"compute": {"engine": "ray", "block_rows": 16, "max_retries": 0}}
    child = start(job, temporary)
    wait_for(child, lambda: committed(job) >= 2)
    for process in psutil.Process(child.pid).children(recursive=True):
        if "dense" in " ".join(process.cmdline()):
            process.kill()
    output = child.communicate(timeout=SECONDS)[0]
    assert child.returncode == 1
    told = re.search(r"Ray's logs are kept for a day, in (\S+)\)", " ".join(output.split()))
    assert told, output
    folder = Path(told[1])
    assert own_folders(temporary) == [folder]
    assert list(folder.glob("r/session_*/logs/raylet.out"))
    assert [path.name for path in folder.glob("r/session_2*/*")] == ["logs"]
    clear(temporary)
    assert folder.exists()
    (folder / "fleetembed.json").write_text(json.dumps({"kept": time.time() - 90_000}))
    clear(temporary)
    assert not folder.exists()


def test_ctrl_c_over_and_over_stops_as_cleanly_as_once(job: Job, temporary: Path, stdlib_rows: list[Row]) -> None:
    # More than it has the time for.
    job.write(stdlib_rows)
    child = start(job, temporary)
    wait_for(child, lambda: committed(job) >= 3)
    child.send_signal(signal.SIGINT)
    # The report says so before anything is closed.
    wait_for(child, lambda: job.report["status"] == "interrupted")
    for _ in range(3):
        child.send_signal(signal.SIGINT)
        # All of them are to come before the job is stopped.
        time.sleep(0.05)
    output = child.communicate(timeout=SECONDS)[0]
    assert child.returncode == 1, output
    assert "Traceback" not in output and "stopped; what was written stays" in output
    assert "still stopping: what is under way is being closed; 3 more times ends it at once" in output
    assert "interrupted" in output and job.report["status"] == "interrupted"
    held = len(parquet_points(job.folder / "out"))
    assert 0 < held < len(stdlib_rows) and job.report["rows"]["written"] <= held
    assert own_folders(temporary) == []
