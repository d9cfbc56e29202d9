"""The command line: exit codes, one message and no traceback, signals, and runs that are killed."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.e2e.jobs import Job, Row, parquet_points
from tests.waiting import SECONDS, wait_for

COMMAND = [sys.executable, str(ROOT / "jobs" / "embed_corpus.py")]
LOCAL = "compute.engine=local"
RAY = pytest.param("compute.engine=ray", marks=pytest.mark.ray)


@pytest.fixture
def job(tmp_path: Path, minilm: Path) -> Job:
    return Job(tmp_path, minilm, [{"type": "parquet", "path": str(tmp_path / "out")}])


def run(job: Job, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "--config", str(job.config_file()), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=job.folder, timeout=SECONDS)


def start(job: Job, engine: str) -> subprocess.Popen[str]:
    command = [*COMMAND, "--config", str(job.config_file()), "--set", engine]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=job.folder,
    )


def committed(job: Job) -> int:
    return len(list((job.folder / "out").glob("part-*.parquet")))


def test_a_whole_run_with_dead_letters_ends_with_3_and_a_summary(job: Job) -> None:
    job.write([{"id": "a", "text": "fine"}, {"id": "b", "text": None}])
    done = run(job, "--set", "errors.max_rate=1", "--set", "compute.cpus=3")
    assert done.returncode == 3, done.stderr
    told = " ".join(done.stderr.split())
    assert "engine local runs in this process alone: compute.cpus change nothing" in told
    assert "complete" in done.stderr and "dead letters" in done.stderr and "text is null" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "compute.blok_rows=3"), "did you mean 'block_rows'"),
        (("--set", "embeddings.0.model=all-MiniLM"), "sentence-transformers/all-MiniLM-L6-v2"),
        (("--bogus",), "No such option"),
        (("--set", "embeddings.0.options={sped: 1}"), "sped"),
        (("--set", "report=/dev/null/report.json"), "report: cannot write"),
    ],
)
def test_bad_usage_and_bad_configuration_end_with_2(job: Job, arguments: tuple[str, ...], words: str) -> None:
    job.write([{"id": "a", "text": "fine"}])
    done = run(job, *arguments)
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "source.path=nowhere/*.jsonl"), "nowhere"),
        (("--set", "source.text=body"), "body"),
        (("--set", "sink.0={type: qdrant, collection: c, url: 'http://127.0.0.1:9', retry_seconds: 1}"), "127.0.0.1:9"),
        (("--set", "compute.stages={dense: {gpus: 1}}"), "GPU"),
    ],
)
def test_a_job_that_cannot_run_ends_with_1_and_one_message(job: Job, arguments: tuple[str, ...], words: str) -> None:
    job.write([{"id": "a", "text": "fine"}])
    done = run(job, *arguments)
    assert done.returncode == 1
    assert words in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_plan_and_schema_print_and_end_with_0(job: Job) -> None:
    job.write([{"id": "a", "text": "fine"}])
    planned = run(job, "--plan")
    assert planned.returncode == 0 and "nothing was changed" in planned.stdout
    assert "INFO reading the job " in planned.stderr
    schema = run(job, "--schema")
    assert "embeddings" in json.loads(schema.stdout)["properties"]


@pytest.mark.slow
def test_a_file_that_is_no_report_is_never_replaced_by_one(job: Job) -> None:
    job.write([{"id": "a", "text": "fine"}])
    before = job.corpus.read_bytes()
    for words, *arguments in (("which this job writes", "--plan"), ("is there and is no run's report",)):
        done = run(job, "--set", f"report={job.corpus}", *arguments)
        assert done.returncode == 2
        assert words in done.stderr and "Traceback" not in done.stderr
        assert job.corpus.read_bytes() == before


# Ctrl-C where Ray runs a job is the matter of test_leftovers.py, and so is a run on Ray that is killed; workers of Ray
# are killed in tests/chaos.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "engine"),
    [
        (signal.SIGINT, LOCAL),
        (signal.SIGTERM, LOCAL),
        pytest.param(signal.SIGTERM, "compute.engine=ray", marks=pytest.mark.ray),
    ],
)
def test_a_signal_stops_cleanly_with_a_report(
    job: Job, stdlib_rows: list[Row], number: signal.Signals, engine: str
) -> None:
    # More than it has the time for.
    job.write(stdlib_rows)
    child = start(job, engine)
    wait_for(child, lambda: committed(job))
    child.send_signal(number)
    output = child.communicate(timeout=SECONDS)[0]
    assert child.returncode == 1
    assert "interrupted" in output and "Traceback" not in output
    assert job.report["status"] == "interrupted"
    assert 0 < len(parquet_points(job.folder / "out")) < len(stdlib_rows)
    assert job.report["rows"]["written"] <= len(parquet_points(job.folder / "out"))


@pytest.mark.slow
def test_sigterm_while_a_model_is_downloaded_stops_the_command_with_a_message(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.write([{"id": "a", "text": "fine"}])
    job.extra = {"embeddings": [{"name": "dense", "model": "BAAI/bge-small-en-v1.5"}]}
    with socket.create_server(("127.0.0.1", 0)) as silent_hub:
        silent_hub.settimeout(SECONDS)
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent_hub.getsockname()[1]}")
        monkeypatch.setenv("FLEETEMBED_CACHE_DIR", str(job.folder / "cache"))
        child = start(job, LOCAL)
        with silent_hub.accept()[0] as connection:
            assert connection.recv(1)
            child.send_signal(signal.SIGTERM)
            output = child.communicate(timeout=SECONDS)[0]
    assert child.returncode == 1
    assert "Traceback" not in output and "stopped; what was written stays" in output


@pytest.mark.slow
@pytest.mark.parametrize("engine", [LOCAL, RAY])
def test_too_many_dead_rows_end_a_run_and_what_it_started(job: Job, engine: str) -> None:
    job.write([{"id": str(number), "text": None if number % 5 == 0 else "fine"} for number in range(400)])
    done = run(job, "--set", engine)
    assert done.returncode == 1
    assert "rows went to dead letters" in done.stderr and "Traceback" not in done.stderr
    # A Ray that is asked for anything after the job's was ended is started anew, and says so.
    assert "Started a local Ray" not in done.stderr


@pytest.mark.slow
def test_rows_that_are_held_count_when_dead_ones_are_judged(job: Job) -> None:
    job.write([{"id": str(number), "text": None if number % 20 == 0 else "fine"} for number in range(1000)])
    job.extra = {"errors": {"max_rate": 0.1, "min_rows": 20}, "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}]}
    for _ in range(2):
        done = run(job, "--set", "compute.engine=local", "--set", "compute.block_rows=1024")
        assert done.returncode == 3, done.stderr
    assert job.report["rows"] | {"chunked": 0} == {
        "read": 1000,
        "chunked": 0,
        "skipped": 950,
        "embedded": 0,
        "copied": 0,
        "payload_only": 0,
        "written": 0,
        "deleted": 0,
        "dead": 50,
    }


@pytest.mark.slow
def test_a_run_killed_half_way_is_completed_by_the_next_with_little_done_twice(
    job: Job, stdlib_rows: list[Row]
) -> None:
    rows = stdlib_rows[:400]
    job.write(rows)
    child = start(job, LOCAL)
    wait_for(child, lambda: committed(job) * 16 >= len(rows) // 2)
    child.kill()
    child.wait()
    child.stdout and child.stdout.close()
    first = job.report["rows"]["embedded"]
    done = run(job, "--set", LOCAL)
    assert done.returncode == 0, done.stderr
    assert parquet_points(job.folder / "out").keys() == {row["id"] for row in rows}
    report = job.report
    assert report["rows"]["skipped"] >= len(rows) // 2 - 16
    # The killed run's last report is at most a second old: what it embedded since then is in its committed files.
    assert max(first, report["rows"]["skipped"]) + report["rows"]["embedded"] < 1.2 * len(rows)


# As slow as a store that does not answer.
SLOW_TO_CLOSE = """
import sys, time
from pipelines.sinks.parquet.sink import ParquetSink
ParquetSink.finish = lambda *_, **__: time.sleep(600)
from pipelines.cli.main import main
sys.argv = ["fleetembed", "embed", *sys.argv[1:]]
main()
"""


@pytest.mark.slow
def test_a_report_says_interrupted_before_all_is_closed(job: Job, stdlib_rows: list[Row]) -> None:
    job.write(stdlib_rows)
    command = [sys.executable, "-c", SLOW_TO_CLOSE, "--config", str(job.config_file())]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=job.folder)
    try:
        wait_for(child, lambda: committed(job))
        child.send_signal(signal.SIGTERM)
        wait_for(child, lambda: job.report["status"] == "interrupted")
        assert child.poll() is None
    finally:
        child.kill()
        child.communicate()
    assert job.report["error"] == "stopped by a signal"
