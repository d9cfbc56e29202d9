"""jobs/models.py, as a shell user sees it, against a hub on this machine."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from click.testing import Result
from huggingface_hub import constants
from rich.console import Console
from typer.testing import CliRunner

from embedders import TextEmbedding
from embedders.catalog import families, list_cards
from pipelines.cli.catalog import show_models
from tests.conftest import ROOT
from tests.embedders.files.hub_models import on_a_terminal
from tests.hub_server import Fault, HubServer
from tests.model_fixtures import write_synthetic_model
from tests.waiting import SECONDS

MODEL = "BAAI/bge-small-en"
REPO = "Qdrant/bge-small-en"
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a synthetic model of that name."""
    folder = write_synthetic_model(tmp_path_factory.mktemp("bge"), model_file="model_optimized.onnx", dim=384)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(files: dict[str, bytes]) -> Iterator[HubServer]:
    with HubServer() as running:
        running.add_repo(REPO, files)
        yield running


@pytest.fixture
def run(tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call the command in this process: a process a test would spend its seconds on imports."""
    spec = spec_from_file_location("models_job", ROOT / "jobs" / "models.py")
    assert spec is not None and spec.loader is not None
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("FLEETEMBED_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FLEETEMBED_DOWNLOAD_BACKOFF", "0.01")
    monkeypatch.setenv("FLEETEMBED_DOWNLOAD_ATTEMPTS", "2")
    return lambda *arguments: CliRunner().invoke(script.app, list(arguments))


def test_list_prints_every_model_of_the_catalog(run: Run) -> None:
    listed = run("list")
    assert listed.exit_code == 0
    for card in list_cards(*families()):
        assert any(line.startswith(f"{card.model} ") and card.license in line for line in listed.stdout.splitlines())
    assert f"{len(list_cards(*families()))} models, " in listed.stdout


@pytest.mark.parametrize("width", [80, 120, 200])
def test_list_breaks_no_name_on_a_terminal(width: int, tmp_path: Path) -> None:
    cards = list_cards(*families())
    output = io.StringIO()
    show_models(cards, tmp_path, Console(file=output, force_terminal=True, color_system=None, width=width))
    lines = output.getvalue().splitlines()
    assert all(len(line.rstrip()) <= width for line in lines) and "…" not in output.getvalue()
    places = [number for number, line in enumerate(lines) if line[:1].strip() and "/" in line.split()[0]]
    assert [lines[at].split()[0] for at in places] == [card.model for card in cards]
    for at, card in zip(places, cards, strict=True):
        told = lines[at + (width == 80)]
        assert card.license in told and (card.max_tokens is None or f"{card.max_tokens:,}" in told)
    assert "Without max_length it is" in output.getvalue()


def test_list_tells_where_the_files_of_a_cached_synthetic_model_cut(run: Run) -> None:
    assert "cuts_at" in run("show", MODEL).stdout and "not cached yet" in run("show", MODEL).stdout
    assert run("download", MODEL).exit_code == 0
    limit = json.loads(run("show", MODEL, "--json").stdout)["cache"]["cuts_at"]
    assert limit == TextEmbedding(MODEL, local_files_only=True).model.text_model.tokenizer.max_length
    (line,) = (line for line in run("list").stdout.splitlines() if line.startswith(f"{MODEL} "))
    assert line.endswith(f"cached, cut at {limit}")


def test_words_of_bm25_need_not_be_cached(run: Run) -> None:
    shown, checked = run("show", "Qdrant/bm25").stdout, run("verify", "Qdrant/bm25")
    assert "not needed" in shown and "not cached" not in shown
    assert (checked.exit_code, checked.stdout.splitlines()[0]) == (0, "Qdrant/bm25: not needed 0 files")


def test_list_of_a_family_as_json(run: Run) -> None:
    rows = json.loads(run("list", "--family", "rerank", "--json").stdout)
    assert [row["model"] for row in rows] == [card.model for card in list_cards("rerank")]
    refused = run("list", "--family", "rank")
    assert (refused.exit_code, "no family 'rank'; there are bge_m3, bm25" in refused.stderr) == (2, True)


def test_downloaded_synthetic_model_is_shown_verified_and_works_offline(run: Run, tmp_path: Path) -> None:
    assert "not cached" in run("show", MODEL).stdout
    done = run("download", MODEL)
    assert done.exit_code == 0, done.stderr
    assert f"{MODEL}: " in done.stdout and str(tmp_path / "cache") in done.stdout.replace("\n", "")
    assert "model_optimized.onnx" in run("show", MODEL).stdout
    verified = run("verify")
    assert (verified.exit_code, verified.stdout) == (0, f"{MODEL}: cached 5 files\n")
    model = TextEmbedding(MODEL, cache_dir=tmp_path / "cache", local_files_only=True, cuda=False)
    assert next(iter(model.embed("hello"))).shape == (384,)


@pytest.mark.slow
def test_a_download_shows_bars_on_a_terminal_and_lines_elsewhere(run: Run, files: dict[str, bytes]) -> None:
    command = (sys.executable, str(ROOT / "jobs" / "models.py"), "download", MODEL)
    shown = on_a_terminal(*command, FLEETEMBED_CACHE_DIR=os.environ["FLEETEMBED_CACHE_DIR"] + "/1")
    size = len(files["model_optimized.onnx"])
    assert re.search(rf"{MODEL} model_optimized\.onnx: .*/{size / 1000:.0f}k .*B/s\]", shown), shown
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"model {MODEL}: downloading special_tokens_map.json, ")
    assert lines[-1].startswith(f"model {MODEL}: downloaded in ")


def test_a_damaged_file_is_found_by_its_hash_and_mended(run: Run, tmp_path: Path, files: dict[str, bytes]) -> None:
    run("download", MODEL)
    damaged = tmp_path / "cache" / REPO.replace("/", "--") / "tokenizer.json"
    damaged.write_bytes(files["tokenizer.json"][:-1] + b" ")
    found = run("verify", MODEL)
    assert found.exit_code == 1
    assert "tokenizer.json no longer has the sha256" in found.stdout and "--repair" in found.stdout
    assert run("verify", MODEL, "--repair").exit_code == 0
    assert damaged.read_bytes() == files["tokenizer.json"]


def test_a_download_that_fails_is_told_and_the_others_go_on(run: Run, hub: HubServer) -> None:
    hub.faults["model_optimized.onnx"] = [Fault("status", times=None, status=404)]
    failed = run("download", "BAAI/bge-small-en-v1.5", MODEL)
    assert failed.exit_code == 1
    assert "2 of 2 models could not be downloaded" in failed.stdout


def test_verify_of_a_model_that_is_not_there_says_so(run: Run) -> None:
    assert run("verify").stdout.endswith("holds no model of the catalog\n")
    named = run("verify", MODEL)
    assert (named.exit_code, named.stdout.splitlines()[0]) == (1, f"{MODEL}: not cached 0 files")


@pytest.mark.parametrize("arguments", [("download",), ("download", MODEL, "--all")])
def test_download_wants_names_or_all(run: Run, arguments: tuple[str, ...]) -> None:
    refused = run(*arguments)
    assert (refused.exit_code, refused.stderr) == (2, "name some models, or give --all\n")


def test_an_unknown_model_gets_the_nearest_names(run: Run) -> None:
    refused = run("show", "bge-smal-en")
    assert refused.exit_code == 1
    assert "Did you mean BAAI/bge-small-en" in refused.stderr


def test_the_script_ends_with_one_message_and_no_traceback() -> None:
    command = [sys.executable, str(ROOT / "jobs" / "models.py"), "show", "no such model"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("model 'no such model' is not in the catalog.")
