"""Searching what a job wrote, with real MiniLM and BM25."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.config_file import load_config
from pipelines.errors import ConfigError, SinkError
from pipelines.search import Searcher, show_answers
from tests.conftest import ROOT
from tests.e2e.jobs import Job

pytestmark = pytest.mark.ray

DOCUMENTS = [
    {"id": "python", "text": "Pythons are large snakes that squeeze their prey."},
    {"id": "java", "text": "Java is an island of Indonesia with many volcanoes."},
    {"id": "c", "text": "The third letter of the alphabet."},
    {"id": "code", "text": "An error with the code E1234 means that the disk is full."},
]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, minilm: Path, ray_local: None) -> Job:
    folder = tmp_path_factory.mktemp("search")
    made = Job(folder, minilm, [{"type": "qdrant", "path": str(folder / "qdrant"), "collection": "docs"}])
    made.write(DOCUMENTS)
    made.run()
    return made


def test_dense_finds_by_meaning_and_bm25_by_word(job: Job) -> None:
    with Searcher(load_config(job.config())) as searcher:
        assert searcher.names == ("dense", "bm25")
        assert searcher.search("reptiles", using="dense")[0].title == "python"
        hits = searcher.search("E1234", using="bm25")
        assert [hit.title for hit in hits] == ["code"]
        assert hits[0].payload["text"] == DOCUMENTS[3]["text"]


def test_fusion_ranks_what_both_find_first(job: Job) -> None:
    with Searcher(load_config(job.config())) as searcher:
        hits = searcher.search("island volcanoes", limit=2)
    assert hits[0].title == "java" and len(hits) == 2


def test_answers_show_each_way_and_the_text(job: Job) -> None:
    text = io.StringIO()
    with Searcher(load_config(job.config())) as searcher:
        show_answers("large snakes [really]", searcher, Console(file=text, width=120))
    shown = text.getvalue()
    assert "large snakes [really]" in shown
    assert all(word in shown for word in ("dense", "bm25", "fused", "Pythons are large snakes"))


def test_an_empty_query_is_answered(job: Job) -> None:
    with Searcher(load_config(job.config())) as searcher:
        assert searcher.search("", using="bm25") == []
        assert len(searcher.search("", using="dense")) == 4


def test_an_unknown_embedding_and_an_absent_collection_are_named(job: Job) -> None:
    with Searcher(load_config(job.config())) as searcher, pytest.raises(ConfigError, match="'dens' is no embedding"):
        searcher.search("x", using="dens")
    with pytest.raises(SinkError, match=r"other .*does not exist yet; run the job first"):
        Searcher(load_config(job.config(), ["sink.0.collection=other"]))
    with pytest.raises(ConfigError, match="no qdrant sink"):
        Searcher(load_config({**job.config(), "sink": {"type": "parquet", "path": "x"}}))


def test_the_command_prints_hits_as_json(job: Job) -> None:
    command = [sys.executable, str(ROOT / "jobs" / "search.py"), "--config", str(job.config_file()), "snakes", "--json"]
    done = subprocess.run([*command, "-n", "1"], capture_output=True, text=True, cwd=job.folder, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [hit["payload"]["document_id"] for hit in json.loads(done.stdout)] == ["python"]
