"""A small collection of every kind of vector, filled in this process: MiniLM, BM25, MiniLM's token vectors folded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines import EmbeddingPipeline, Searcher
from pipelines.run.report.report import RunReport

DOCUMENTS: list[dict[str, Any]] = [
    {"id": "python", "text": "Pythons are large snakes that squeeze their prey.", "year": 2001, "lang": "en"},
    {"id": "java", "text": "Java is an island of Indonesia with many volcanoes.", "year": 2010, "lang": "en"},
    {"id": "c", "text": "The third letter of the alphabet.", "year": 2020, "lang": "en"},
    {"id": "code", "text": "An error with the code E1234 means that the disk is full.", "year": 2024, "lang": "en"},
    {"id": "vulkan", "text": "Auf Java gibt es viele Vulkane.", "year": 2024, "lang": "de"},
    {"id": "cobra", "text": "A cobra is a venomous snake, and spreads its hood when it is threatened.", "lang": "en"},
]

STAGED = {"staged": {"using": "colbert", "rescore": "colbert_multivector", "candidates": 4}}


@dataclass
class Collection:
    """A collection at an address (``collection`` with ``path`` or ``url``), and the job that fills it.

    The job's corpus and report are in ``folder``.
    """

    folder: Path
    address: dict[str, str]
    embeddings: list[dict[str, Any]]
    searches: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def job(self) -> dict[str, Any]:
        return {
            "source": {"path": str(self.folder / "corpus.jsonl"), "id": "id"},
            "embeddings": self.embeddings,
            "sink": {"type": "qdrant", **self.address},
            "compute": {"engine": "local"},
            "searches": self.searches,
            "report": str(self.folder / "report.json"),
        }

    def fill(self, documents: list[dict[str, Any]] = DOCUMENTS) -> RunReport:
        """Embed documents and write them."""
        lines = "".join(json.dumps(document) + "\n" for document in documents)
        (self.folder / "corpus.jsonl").write_text(lines, encoding="utf-8")
        return EmbeddingPipeline.from_config(self.job).run(console=Console(quiet=True))


def embeddings_of(minilm: Path) -> list[dict[str, Any]]:
    # No package carries a ColBERT: MiniLM's token vectors stand in, as a user's model.
    tokens = {"path": str(minilm), "family": "late_interaction"}
    return [
        {"name": "dense", "model": "sentence-transformers/all-MiniLM-L6-v2", "path": str(minilm)},
        {"name": "bm25", "model": "Qdrant/bm25"},
        {"name": "colbert", "model": tokens, "muvera": {"k_sim": 4, "dim_proj": 32, "keep_multivector": True}},
    ]


@pytest.fixture(scope="session")
def filled(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """DOCUMENTS in a folder, embedded in all ways; not to be changed."""
    folder = tmp_path_factory.mktemp("search")
    address = {"path": str(folder / "qdrant"), "collection": "docs"}
    collection = Collection(folder, address, embeddings_of(minilm), STAGED)
    assert collection.fill().rows["written"] == len(DOCUMENTS)
    return collection


@pytest.fixture
def copied(filled: Collection, tmp_path: Path) -> Collection:
    """A copy of the collection that no other searcher has open."""
    address = {**filled.address, "path": str(tmp_path / "qdrant")}
    shutil.copytree(filled.address["path"], address["path"])
    return replace(filled, folder=tmp_path, address=address)


@pytest.fixture(scope="module")
def searcher(filled: Collection) -> Iterator[Searcher]:
    with Searcher.open(**filled.address) as searcher:
        yield searcher
