"""The wheel alone: built, installed beside the dependencies in an environment of its own, used in another folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.e2e.jobs import MINILM, Row, parquet_points
from tests.waiting import SECONDS

pytestmark = pytest.mark.slow

# What an interpreter does first: it notes each file of the checkout that it, or a worker of Ray, opens or imports.
WATCH = """
import os, sys
def note(event, arguments):
    if event in ("open", "import"):
        for argument in arguments:
            if isinstance(argument, str) and argument.startswith(CHECKOUT) and not argument.startswith(DEPENDENCIES):
                with os.fdopen(os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "w") as file:
                    file.write(f"{event} {argument}\\n")
sys.addaudithook(note)
"""


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and the folder that commands are run in."""

    environment: Path
    folder: Path

    @property
    def notes(self) -> str:
        notes = self.environment / "notes"
        return notes.read_text() if notes.exists() else ""

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        program, *arguments = command
        called = [str(self.environment / "bin" / program), *arguments]
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(called, cwd=self.folder, env=variables, capture_output=True, text=True, timeout=SECONDS)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    built, environment = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("environment")
    wheel = build_wheel(built)
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, timeout=SECONDS)
    pip = [str(environment / "bin" / "pip"), "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    subprocess.run([*pip, str(wheel)], check=True, timeout=SECONDS)
    dependencies = sysconfig.get_path("purelib")
    packages = next(environment.glob("lib/python*/site-packages"))
    # A folder that such a file names has its own files of that kind passed over: the editable install is not seen.
    (packages / "dependencies.pth").write_text(f"{dependencies}\n")
    constants = f"CHECKOUT, DEPENDENCIES, NOTES = {f'{ROOT}/'!r}, {dependencies!r}, {str(environment / 'notes')!r}"
    (packages / "watch.py").write_text(constants + WATCH)
    (packages / "watch.pth").write_text("import watch\n")
    return Installed(environment, tmp_path_factory.mktemp("elsewhere"))


def build_wheel(folder: Path) -> Path:
    """Build the wheel by what pyproject.toml names as its backend, of a copy: building leaves files behind."""
    sources = folder / "sources"
    for package in ("embedders", "fleetembed", "pipelines"):
        shutil.copytree(ROOT / package, sources / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    build = "from setuptools import build_meta; import sys; build_meta.build_wheel(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", build, str(folder)], cwd=sources, check=True, capture_output=True, timeout=SECONDS
    )
    return next(folder.glob("fleetembed-*.whl"))


def write_job(folder: Path, engine: str, minilm: Path, rows: list[Row]) -> None:
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    job = {
        "source": {"path": "corpus.jsonl", "id": "id"},
        "embeddings": [
            {"name": "dense", "model": MINILM, "path": str(minilm)},
            {"name": "bm25", "model": "Qdrant/bm25"},
        ],
        "sink": [
            {"type": "parquet", "path": engine},
            {"type": "qdrant", "path": f"{engine}-qdrant", "collection": "docs"},
        ],
        "compute": {"engine": engine, "block_rows": 16},
        "report": f"{engine}.json",
    }
    (folder / f"{engine}.yaml").write_text(json.dumps(job))


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_job_and_a_search_need_no_file_of_the_checkout(
    installed: Installed, docstrings: list[Row], minilm: Path, engine: str
) -> None:
    write_job(installed.folder, engine, minilm, docstrings)
    done = installed.run("fleetembed", "embed", "--config", f"{engine}.yaml")
    assert done.returncode == 0, done.stderr
    assert parquet_points(installed.folder / engine).keys() == {row["id"] for row in docstrings}
    assert json.loads((installed.folder / f"{engine}.json").read_text())["engine"] == engine
    row = docstrings[7]
    found = installed.run("fleetembed", "search", "--config", f"{engine}.yaml", row["text"], "--json", "-n", "1")
    assert found.returncode == 0, found.stderr
    assert [hit["payload"]["document_id"] for hit in json.loads(found.stdout)] == [row["id"]]
    assert not installed.notes


def test_the_watch_sees_what_the_checkout_would_be_used_for(installed: Installed) -> None:
    path = ROOT / "pipelines" / "errors.py"
    assert installed.run("python", "-c", f"open({str(path)!r})").returncode == 0
    assert installed.notes == f"open {path}\n"
    (installed.environment / "notes").unlink()


def test_the_command_tells_its_version_and_its_models(installed: Installed) -> None:
    assert installed.run("fleetembed", "--version").stdout == "fleetembed 0.1.0\n"
    listed = installed.run("fleetembed", "models", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    assert "Qdrant/bm25" in {model["model"] for model in json.loads(listed.stdout)}
