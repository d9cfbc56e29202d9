"""Jobs submitted from a clone to a Ray head that is protected by a token: logs, exit codes, places, and a stop."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.dataset as pads
import pytest
import yaml
from ray.job_submission import JobStatus, JobSubmissionClient

from stdlib_corpus import stdlib_rows
from tests.cluster.head import Head, started_head
from tests.conftest import ROOT
from tests.e2e.jobs import MINILM
from tests.model_fixtures import write_synthetic_model
from tests.waiting import SECONDS, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.ray]

ENDED = {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED}
# Written into the clone, so that each process of a job tells which packages it has imported.
TELL = """
import os
with open(os.path.join({seen!r}, str(os.getpid())), "a") as file:
    file.write(f"{{__file__}}\\n")
"""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with started_head() as running:
        yield running


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which each process of a submitted job leaves a file with the path of the package that it imported."""
    return tmp_path_factory.mktemp("seen")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, seen: Path) -> Path:
    """What a clone of the repository has, with a small corpus beside it."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"needs a git checkout: {found.stderr}")
    clone = tmp_path_factory.mktemp("clone")
    for name in filter(None, found.stdout.split("\0")):
        if (ROOT / name).exists():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    with (clone / "pipelines" / "rows.py").open("a") as file:
        file.write(TELL.format(seen=str(seen)))
    rows = [{"id": str(number), "text": f"text {number}" if number % 10 else None} for number in range(100)]
    (clone / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return clone


@pytest.fixture(scope="module")
def jobs(head: Head) -> JobSubmissionClient:
    """A client for the head; Ray reads a process's settings of tokens only once, so that it gets the header itself."""
    return JobSubmissionClient(head.url, headers={"Authorization": f"Bearer {head.token}"})


def job(**changes: Any) -> dict[str, Any]:
    base = {
        "source": {"path": "corpus.jsonl", "id": "id"},
        "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
        "sink": {"type": "parquet", "path": "out"},
        "compute": {"block_rows": 16},
        "errors": {"max_rate": 0.5},
    }
    return {**base, **changes}


def submit(jobs: JobSubmissionClient, clone: Path, name: str, config: dict[str, Any]) -> str:
    (clone / f"{name}.yaml").write_text(yaml.safe_dump(config))
    entrypoint = f"python jobs/embed_corpus.py --config {name}.yaml"
    submission: str = jobs.submit_job(entrypoint=entrypoint, runtime_env={"working_dir": str(clone)})
    return submission


def ended(jobs: JobSubmissionClient, submission: str) -> Any:
    """What is known of a job once it has ended."""
    deadline = time.monotonic() + SECONDS
    while (info := jobs.get_job_info(submission)).status not in ENDED:
        assert time.monotonic() < deadline, f"{info}\n{jobs.get_job_logs(submission)}"
        time.sleep(0.1)
    return info


def test_the_command_of_the_manual_runs_a_job_on_the_cluster(
    head: Head, jobs: JobSubmissionClient, clone: Path, seen: Path, tmp_path: Path
) -> None:
    # A model that is small enough to come along, at the path that it has in the clone.
    (clone / "model").mkdir()
    write_synthetic_model(clone / "model")
    config = job(
        embeddings=[
            {"name": "bm25", "model": "Qdrant/bm25"},
            {"name": "own", "model": {"path": "model", "pooling": "mean"}},
        ],
        compute={"base_path": str(tmp_path / "base"), "block_rows": 16},
    )
    (clone / "job.yaml").write_text(yaml.safe_dump(config))
    entrypoint = ["--", "python", "jobs/embed_corpus.py", "--config", "job.yaml"]
    command = head.command("submit", "--submission-id", "manual", "--working-dir", ".", *entrypoint)
    done = subprocess.run(command, cwd=clone, env=head.environment, capture_output=True, text=True, timeout=SECONDS)
    streamed = done.stdout + done.stderr
    # Ray's own command ends with 1 whatever the job's code is.
    assert done.returncode == 1 and "failed with exit code 3" in streamed, streamed
    # The log as Ray keeps it, rather than as its command follows it.
    told = jobs.get_job_logs("manual")
    assert "reading 100 documents" in told and "by Ray" in told, told
    # No line of a log is broken at some width.
    assert f"10 dead letters in {tmp_path}/base/dead_letters:\n" in told, told
    assert f"parquet: 90 points in {tmp_path}/base/out" in " ".join(told.split()), told
    assert "Traceback" not in told
    written = {path.name for path in (tmp_path / "base").iterdir()}
    assert written == {"out", "dead_letters", "run_report.json", "run_report.html"}
    assert len(list((tmp_path / "base" / "dead_letters").glob("*.parquet"))) >= 1
    # The driver and its workers had the packages that were uploaded, though others are installed.
    packages = [path.read_text() for path in seen.iterdir()]
    assert len(packages) > 1 and all("working_dir_files" in path for path in packages)


def test_exit_codes_reach_whoever_asks_for_them(jobs: JobSubmissionClient, clone: Path, tmp_path: Path) -> None:
    alone = {"engine": "local", "base_path": str(tmp_path)}
    wanted = {
        "dead": (3, job(compute=alone, sink={"type": "parquet", "path": "dead"})),
        "excused": (
            0,
            job(
                compute=alone,
                sink={"type": "parquet", "path": "excused"},
                errors={"max_rate": 0.5, "exit_code_on_dead": 0},
                report="excused.json",
            ),
        ),
        "too_many": (1, job(compute=alone, sink={"type": "parquet", "path": "many"}, errors={"min_rows": 1})),
        "relative": (2, job(errors={"path": "dead_letters"})),
        "beside": (2, job(compute={"address": "local", "base_path": str(tmp_path)})),
    }
    submitted = {name: submit(jobs, clone, name, config) for name, (_, config) in wanted.items()}
    found = {name: ended(jobs, submission) for name, submission in submitted.items()}
    logs = {name: jobs.get_job_logs(submission) for name, submission in submitted.items()}
    assert {name: info.driver_exit_code for name, info in found.items()} == {
        name: code for name, (code, _) in wanted.items()
    }, logs
    assert found["excused"].status == JobStatus.SUCCEEDED
    report = json.loads((tmp_path / "excused.json").read_text())
    assert (report["status"], report["rows"]["dead"]) == ("complete", 10)
    assert "rows went to dead letters" in logs["too_many"]
    places = "sink.0.path out, errors.path dead_letters, report run_report.json"
    assert (
        f"Ray, which removes the folder that it runs in, and all that is written there: {places};" in logs["relative"]
    )
    assert "compute.address: this job was submitted to a Ray, and local would start another one" in logs["beside"]
    assert not any("Traceback" in log for log in logs.values())


def test_a_stopped_job_leaves_a_true_report(
    jobs: JobSubmissionClient, clone: Path, tmp_path: Path, minilm: Path
) -> None:
    rows = list(islice(stdlib_rows(), 1200))
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = job(
        source={"path": str(tmp_path / "corpus.jsonl"), "id": "id"},
        embeddings=[{"name": "dense", "model": MINILM, "path": str(minilm)}],
        compute={"base_path": str(tmp_path), "block_rows": 16},
    )
    submission = submit(jobs, clone, "stopped", config)
    wait_until(lambda: any((tmp_path / "out").glob("part-*.parquet")))
    jobs.stop_job(submission)
    assert ended(jobs, submission).status == JobStatus.STOPPED
    report = json.loads((tmp_path / "run_report.json").read_text())
    assert (report["status"], report["error"]) == ("interrupted", "stopped by a signal")
    held = pads.dataset(tmp_path / "out", format="parquet").count_rows()
    assert report["rows"]["written"] <= held < len(rows)


def test_a_job_without_the_token_is_told_what_is_missing(head: Head, clone: Path) -> None:
    strangers = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = head.command("submit", "--working-dir", ".", "--", "python", "jobs/embed_corpus.py", "--help")
    done = subprocess.run(command, cwd=clone, env={**strangers, "HOME": "/nowhere"}, capture_output=True, text=True)
    assert done.returncode == 1
    assert "token" in (done.stdout + done.stderr).lower()
