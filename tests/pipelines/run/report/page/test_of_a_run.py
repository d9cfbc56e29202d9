"""Jobs leave a page beside their report, whatever becomes of them, and the page changes nothing of how they end."""

from __future__ import annotations

import json
import logging
import uuid
from pathlib import Path
from typing import Any

import fsspec
import pytest
from rich.console import Console

from pipelines import EmbeddingPipeline
from pipelines.errors import SourceError, TooManyErrorsError
from pipelines.run.report.page import page as page_module
from pipelines.run.report.report import RunReport
from pipelines.urls import page_place

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
LENGTHS = (3, 3, 10, 40, 500)


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    """Five texts of different lengths, a row without a text and a line that is no JSON."""
    rows = [json.dumps({"id": f"d{number}", "text": "word " * words}) for number, words in enumerate(LENGTHS)]
    rows += ['{"id": "x", "text": null}', "{broken"]
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "in.jsonl").write_text("\n".join(rows) + "\n")
    return {
        "source": {"path": str(tmp_path / "corpus" / "in.jsonl"), "id": "id"},
        "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
        "sink": {"type": "parquet", "path": str(tmp_path / "out")},
        "report": str(tmp_path / "run.json"),
        "errors": {"max_rate": 0.9},
        "compute": {"engine": "local", "price_per_hour": 2.5},
    }


def run(job: dict[str, Any]) -> RunReport:
    return EmbeddingPipeline.from_config(job).run(console=Console(quiet=True))


def with_minilm(job: dict[str, Any], minilm: Path) -> dict[str, Any]:
    dense = {"name": "dense", "model": MINILM, "path": str(minilm), "max_length": 64}
    return job | {"embeddings": [*job["embeddings"], dense]}


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_both_engines_tell_the_figures_that_the_page_shows(
    job: dict[str, Any], minilm: Path, tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    if engine == "ray":
        request.getfixturevalue("ray_local")
    job = with_minilm(job, minilm) | {"compute": {"engine": engine, "price_per_hour": 2.5}}
    report = run(job)
    found = json.loads((tmp_path / "run.json").read_text())
    assert report.exit_code == 3
    assert found["token_lengths"] == {"dense": {"max_length": 64, "up_to": [5, 12, 48, 64], "texts": [2, 1, 1, 1]}}
    reasons = {(one["type"], one["rows"], len(one["samples"])) for one in found["dead_reasons"]}
    assert reasons == {("InvalidText", 1, 1), ("InvalidJson", 1, 1)}
    timeline = found["timeline"]
    assert timeline["rows"]["dense"][-1] == 5 and timeline["rows"]["read"][-1] == 7
    # To the tenth, where the run's seconds are to the hundredth.
    assert timeline["seconds"] == sorted(timeline["seconds"]) and timeline["seconds"][-1] < found["seconds"] + 0.06
    assert found["machine"]["cores"] >= 1 and found["machine"]["packages"]["numpy"]
    assert [node["cpus"] for node in found["machine"]["nodes"]] == ([4.0] if engine == "ray" else [])
    assert found["config"]["embeddings"][1]["max_length"] == 64 and found["price_per_hour"] == 2.5
    assert not any(name.startswith("length") for name in found["stages"]["dense"])
    page = (tmp_path / "run.html").read_text()
    assert "read: InvalidJson" in page and "cut at 64 tokens: 1 (20.0%)" in page and "at 2.50 an hour" in page
    assert {path.name for path in tmp_path.iterdir()} == {"corpus", "out", "run.json", "run.html", "dead_letters"}


def test_a_run_that_fails_has_its_page(job: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(TooManyErrorsError, match=r"2 of 7 rows went to dead letters"):
        run(job | {"errors": {"max_rate": 0.1}})
    assert "failed: 2 of 7 rows went to dead letters" in (tmp_path / "run.html").read_text()
    job["source"]["path"] = str(tmp_path / "gone.jsonl")
    with pytest.raises(SourceError, match=r"gone\.jsonl"):
        run(job)
    assert "gone.jsonl" in (tmp_path / "run.html").read_text()


def test_a_file_that_is_no_page_of_ours_is_left_alone(
    job: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run.html").write_text("<html>notes of mine</html>")
    assert run(job).exit_code == 3
    assert (tmp_path / "run.html").read_text() == "<html>notes of mine</html>"
    assert "run.html is there and is no report's page, and would be replaced by one" in caplog.text
    (tmp_path / "run.html").unlink()
    (tmp_path / "run.html").mkdir()
    assert run(job).exit_code == 3
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "complete"


def test_a_page_that_cannot_be_made_costs_no_run(
    job: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(report: object) -> str:
        raise RuntimeError("a fault of the page")

    monkeypatch.setattr(page_module, "page_of", broken)
    caplog.set_level(logging.WARNING, "fleetembed")
    assert run(job).exit_code == 3
    assert "the report's page could not be written: RuntimeError: a fault of the page" in caplog.text
    assert not (tmp_path / "run.html").exists()


def test_a_store_gets_the_page_beside_the_report(job: dict[str, Any]) -> None:
    url = f"memory://reports-{uuid.uuid4().hex}/run.json"
    for _ in range(2):
        assert run(job | {"report": url}).exit_code == 3
    with fsspec.open(page_place(url), "rt") as file:
        assert file.read().startswith("<!DOCTYPE html>")


def test_the_page_is_not_read_as_a_document_of_the_source(job: dict[str, Any], tmp_path: Path) -> None:
    corpus = tmp_path / "texts"
    corpus.mkdir()
    (corpus / "a.txt").write_text("a text")
    job |= {"source": {"path": str(corpus)}, "report": str(corpus / "run.json")}
    job |= {"errors": {"path": str(tmp_path / "dead")}}
    assert run(job).rows["read"] == 1
    again = EmbeddingPipeline.from_config(job)
    assert again.plan().files == 1 and again.run(console=Console(quiet=True)).rows["read"] == 1
    assert (corpus / "run.html").exists()


@pytest.mark.parametrize(
    ("report", "page"),
    [
        ("run_report.json", "run_report.html"),
        ("a/report", "a/report.html"),
        ("s3://b/run.json?region=x", "s3://b/run.html?region=x"),
        ("a/b.JSON", "a/b.JSON.html"),
        ("odd?.json", "odd?.html"),
    ],
)
def test_the_pages_name(report: str, page: str) -> None:
    assert page_place(report) == page
