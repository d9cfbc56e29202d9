"""Commands on terminals that lack characters, and into outputs that take nothing, as a user starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.waiting import SECONDS

JOBS = ROOT / "jobs"
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


@pytest.fixture
def job(tmp_path: Path) -> Path:
    row = {"id": "ภาษา", "text": "ภาษาไทย 漢字"}
    (tmp_path / "in.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    config = {
        "corpus": "t",
        "source": {"path": "in.jsonl", "id": "id"},
        "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
        "sink": [{"type": "qdrant", "path": "ที่", "collection": "c"}],
        "report": "r.json",
    }
    (tmp_path / "job.yaml").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
    return tmp_path


def run(
    folder: Path, command: str, *arguments: str, output: Path | None = None, **environment: str
) -> tuple[int, str, str]:
    with (output or Path(os.devnull)).open("wb") as file:
        done = subprocess.run(
            [sys.executable, str(JOBS / command), *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=file if output else subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=SECONDS,
        )
    return done.returncode, (done.stdout or b"").decode("latin-1"), done.stderr.decode("latin-1")


def told_of(errors: str) -> str:
    """What is told beside the line with which a command that takes a job begins."""
    return "".join(line for line in errors.splitlines(keepends=True) if not line.endswith("reading the job job.yaml\n"))


ENCODINGS = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


@pytest.mark.slow
@pytest.mark.parametrize("environment", ENCODINGS, ids=["ascii", "latin-1", "C"])
def test_characters_that_a_terminal_lacks_are_replaced(job: Path, environment: dict[str, str]) -> None:
    code, shown, errors = run(job, "embed_corpus.py", "--config", "job.yaml", "--preview", "1", **environment)
    assert (code, told_of(errors)) == (0, "")
    assert "document_id  ????" in shown and "??????? ??" in shown
    if "PYTHONIOENCODING" not in environment:
        return
    code, _, told = run(job, "embed_corpus.py", "--config", "job.yaml", **environment)
    assert code == 0 and "1 points in c at ???" in told and "Traceback" not in told
    code, shown, errors = run(job, "search.py", "--config", "job.yaml", "漢字", **environment)
    assert (code, errors) == (0, "") and "??" in shown
    code, shown, _ = run(job, "models.py", "list", **environment)
    assert code == 0 and "Qdrant/bm25" in shown


@needs_full
@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("embed_corpus.py", ["--config", "job.yaml", "--plan"]),
        ("embed_corpus.py", ["--config", "job.yaml", "--preview", "1"]),
        ("embed_corpus.py", ["--schema"]),
        ("embed_corpus.py", ["--help"]),
        ("models.py", ["list"]),
        ("models.py", ["list", "--json"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_output_that_cannot_be_written_is_one_message_and_1(job: Path, command: str, arguments: list[str]) -> None:
    code, _, errors = run(job, command, *arguments, output=FULL)
    assert (code, told_of(errors)) == (1, "the output cannot be written: No space left on device\n")


@needs_full
@pytest.mark.slow
def test_a_run_whose_summary_cannot_be_written_ends_as_its_rows_did(job: Path) -> None:
    with FULL.open("wb") as full:
        done = subprocess.run(
            [sys.executable, str(JOBS / "embed_corpus.py"), "--config", "job.yaml"],
            cwd=job,
            stderr=full,
            timeout=SECONDS,
        )
    assert done.returncode == 0
    assert json.loads((job / "r.json").read_text())["status"] == "complete"


@pytest.mark.slow
def test_a_reader_that_has_enough_gets_no_message(job: Path) -> None:
    command = f"{sys.executable} {JOBS / 'embed_corpus.py'} --schema | true"
    done = subprocess.run(["sh", "-c", command], cwd=job, capture_output=True, timeout=SECONDS)
    assert done.stderr == b""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_packages_of_the_folder_that_a_job_is_started_in_are_not_taken_for_the_jobs_own(job: Path, engine: str) -> None:
    for name in ("pipelines", "embedders"):
        (job / name).mkdir()
        (job / name / "__init__.py").write_text('raise RuntimeError("a package of the user")')
    chosen = f"compute.engine={engine}"
    # An empty entry of PYTHONPATH is the folder itself.
    code, _, errors = run(job, "embed_corpus.py", "--config", "job.yaml", "--set", chosen, PYTHONPATH=f"{job}:")
    assert code == 0, errors
    assert "complete" in errors and json.loads((job / "r.json").read_text())["rows"]["written"] == 1


def interruptible(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


IMPORTING = """
import sys, time
sys.path.insert(0, "jobs")
import own_packages
print("importing", flush=True)
time.sleep(60)
"""


def test_ctrl_c_while_a_job_is_imported_is_one_line() -> None:
    process = interruptible(IMPORTING)
    assert process.stdout is not None and process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=SECONDS) == ("", "stopped\n")
    assert process.returncode == 1


STARTED = """
import sys, time
sys.path.insert(0, "jobs")
import own_packages
from pipelines.cli.start import start

def command():
    try:
        print("started", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        return 5

start(command)
"""


def test_ctrl_c_once_a_job_is_started_is_answered_by_the_job() -> None:
    process = interruptible(STARTED)
    assert process.stdout is not None and process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=SECONDS) == ("", "")
    assert process.returncode == 5


# Sends the signal as the function is called that is named, after the command is over.
OVER = """
import os, signal, sys
from pipelines.cli.start import start

def interrupt(frame, event, argument):
    if event == "call" and frame.f_code.co_name == sys.argv[1]:
        sys.setprofile(None)
        print("interrupted", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGINT)

def command():
    sys.setprofile(interrupt)
    return 3

start(command)
"""


@pytest.mark.parametrize("moment", ["_number", "end_at_once", "__exit__", "flush"])
def test_ctrl_c_when_the_command_is_over_changes_nothing_of_its_exit_code(moment: str) -> None:
    process = interruptible(OVER, moment)
    assert process.communicate(timeout=SECONDS) == ("", "interrupted\n")
    assert process.returncode == 3
