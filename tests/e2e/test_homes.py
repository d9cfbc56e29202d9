"""Paths that begin with ``~``, and users without a home folder."""

from __future__ import annotations

import json
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from embedders import TextEmbedding
from embedders.errors import ModelNotFoundError
from embedders.files.cache import cache_root
from pipelines import EmbeddingPipeline, Searcher
from pipelines.config.file import load_config
from pipelines.errors import ConfigError
from pipelines.sinks.qdrant.client import open_folder
from tests.conftest import ROOT
from tests.e2e.jobs import MINILM
from tests.waiting import SECONDS

# As a user whom the system does not know, as containers have them.
UNKNOWN_USER = """
import pwd, runpy, sys
def unknown(uid): raise KeyError(uid)
pwd.getpwuid = unknown
sys.argv = sys.argv[1:]
sys.path[0] = str(__import__("pathlib").Path(sys.argv[0]).parent)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def job(folder: Path, **changes: Any) -> dict[str, Any]:
    (folder / "in.jsonl").write_text('{"id": "a", "text": "one"}\n{"id": "b", "text": null}\n')
    base = {
        "source": {"path": str(folder / "in.jsonl"), "id": "id"},
        "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
        "sink": [{"type": "parquet", "path": str(folder / "out")}],
        "errors": {"max_rate": 1},
        "compute": {"engine": "local"},
        "report": str(folder / "report.json"),
    }
    return {**base, **changes}


def test_every_path_of_a_job_may_begin_with_the_home_folder(
    tmp_path: Path, minilm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    (home / "model").symlink_to(minilm)
    own = {"path": "~/model", "pooling": "mean"}
    wanted = job(
        here,
        source={"path": str(here / "in.jsonl"), "id": "id"},
        chunking={"tokenizer": "~/model", "max_tokens": 64},
        embeddings=[
            {"name": "dense", "model": MINILM, "path": "~/model", "cache_dir": "~/models"},
            {"name": "own", "model": own},
        ],
        sink=[{"type": "parquet", "path": "~/out"}, {"type": "qdrant", "path": "~/q", "collection": "c"}],
        errors={"max_rate": 1, "path": "~/dead"},
        report="~/reports/report.json",
    )
    report = EmbeddingPipeline.from_config(wanted).run(console=Console(quiet=True))
    assert report.rows["written"] == 1
    assert {path.name for path in home.iterdir()} >= {"out", "q", "dead", "reports"}
    assert not [path for path in here.rglob("*") if path.name == "~"]
    assert report.dead_letters == str(home / "dead")
    client = open_folder(str(home / "q"))
    assert client.count("c").count == 1
    client.close()
    with Searcher.open("c", path="~/q") as searcher:
        assert [hit.payload["document_id"] for hit in searcher.search("one")] == ["a"]


def test_dead_letters_lie_beside_a_report_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_config(job(tmp_path, report="~/x/report.json")).dead_letters == f"{tmp_path}/x/dead_letters"


def test_one_place_in_two_spellings_is_named_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    twice = [{"type": "parquet", "path": path} for path in ("~/out", f"{tmp_path}/out")]
    with pytest.raises(ConfigError, match="the same place is named twice"):
        load_config(job(tmp_path, sink=twice))


@pytest.mark.parametrize("path", ["~/x", "~nobody-at-all/x"])
def test_a_home_that_nobody_knows_is_refused_with_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    forget_home(monkeypatch)
    with pytest.raises(ConfigError, match=rf"report: '{path}': no home folder is known for ~.*write the whole path"):
        load_config(job(tmp_path, report=path))


def forget_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> Any:
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME", "FLEETEMBED_CACHE_DIR", "FASTEMBED_CACHE_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_a_user_without_a_home_has_no_cache_and_needs_none_for_a_folder(
    minilm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_home(monkeypatch)
    assert next(iter(TextEmbedding(MINILM, specific_model_path=str(minilm)).embed("a text"))).shape == (384,)
    for act in (cache_root, lambda: TextEmbedding(MINILM)):
        with pytest.raises(ModelNotFoundError, match=r"HOME is not set.*set FLEETEMBED_CACHE_DIR"):
            act()
    assert cache_root("here") == Path("here")


def run_unknown(folder: Path, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", UNKNOWN_USER, str(ROOT / "jobs" / command), *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_a_job_of_an_unknown_user_runs(tmp_path: Path, minilm: Path, engine: str) -> None:
    dense = {"name": "dense", "model": MINILM, "path": str(minilm)}
    wanted = job(tmp_path, embeddings=[dense, {"name": "bm25", "model": "Qdrant/bm25"}], compute={"engine": engine})
    (tmp_path / "job.yaml").write_text(json.dumps(wanted))
    done = run_unknown(tmp_path, "embed_corpus.py", "--config", "job.yaml")
    assert done.returncode == 3, done.stderr
    assert "parquet: 1 points" in done.stderr


@pytest.mark.slow
def test_what_needs_the_cache_is_one_message_for_an_unknown_user(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(json.dumps(job(tmp_path, embeddings=[{"name": "dense", "model": MINILM}])))
    told = "the cache of models has no place, because this user has no home folder (HOME is not set): set FLEETEMBED_"
    for command in (
        ["embed_corpus.py", "--config", "job.yaml", "--plan"],
        ["models.py", "list"],
        ["models.py", "verify"],
    ):
        done = run_unknown(tmp_path, *command)
        assert (done.returncode, done.stdout) == (1, "")
        # A command that takes a job says first that it reads it.
        *begun, message = done.stderr.splitlines()
        assert message.startswith(told) and len(begun) == command.count("--config")
