"""Commands on terminals that lack characters, and into outputs that take nothing, as a user starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

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
            timeout=240,
        )
    return done.returncode, (done.stdout or b"").decode("latin-1"), done.stderr.decode("latin-1")


ENCODINGS = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


@pytest.mark.slow
@pytest.mark.parametrize("environment", ENCODINGS, ids=["ascii", "latin-1", "C"])
def test_characters_that_a_terminal_lacks_are_replaced(job: Path, environment: dict[str, str]) -> None:
    code, shown, errors = run(job, "embed_corpus.py", "--config", "job.yaml", "--preview", "1", **environment)
    assert (code, errors) == (0, "")
    assert "document_id   ????" in shown and "??????? ??" in shown
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
    assert (code, errors) == (1, "the output cannot be written: No space left on device\n")


@needs_full
@pytest.mark.slow
def test_a_run_whose_summary_cannot_be_written_ends_as_its_rows_did(job: Path) -> None:
    with FULL.open("wb") as full:
        done = subprocess.run(
            [sys.executable, str(JOBS / "embed_corpus.py"), "--config", "job.yaml"], cwd=job, stderr=full, timeout=240
        )
    assert done.returncode == 0
    assert json.loads((job / "r.json").read_text())["status"] == "complete"


@pytest.mark.slow
def test_a_reader_that_has_enough_gets_no_message(job: Path) -> None:
    command = f"{sys.executable} {JOBS / 'embed_corpus.py'} --schema | true"
    done = subprocess.run(["sh", "-c", command], cwd=job, capture_output=True, timeout=240)
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
