"""A small collection of every kind of vector, made without Ray: MiniLM, BM25, and MiniLM's token vectors folded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.config.file import load_config
from pipelines.config.job import JobConfig
from pipelines.embed.checked import checked_embedder, job_facts
from pipelines.identity import identify
from pipelines.rows import CHUNK_SCHEMA
from pipelines.search import Searcher
from pipelines.sinks.factory import make_sink

DOCUMENTS: list[dict[str, Any]] = [
    {"id": "python", "text": "Pythons are large snakes that squeeze their prey.", "year": 2001, "lang": "en"},
    {"id": "java", "text": "Java is an island of Indonesia with many volcanoes.", "year": 2010, "lang": "en"},
    {"id": "c", "text": "The third letter of the alphabet.", "year": 2020, "lang": "en"},
    {"id": "code", "text": "An error with the code E1234 means that the disk is full.", "year": 2024, "lang": "en"},
    {"id": "vulkan", "text": "Auf Java gibt es viele Vulkane.", "year": 2024, "lang": "de"},
    {"id": "cobra", "text": "A cobra is a venomous snake, and spreads its hood when it is threatened.", "lang": "en"},
]


@dataclass
class Collection:
    """A collection and the job that filled it."""

    job: dict[str, Any]
    place: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> JobConfig:
        return load_config(self.job)

    def fill(self, documents: list[dict[str, Any]], *, completed: bool = True) -> None:
        """Embed documents and write them, as a run does."""
        config = self.config
        embedders = [checked_embedder(f"embeddings.{n}", one) for n, one in enumerate(config.embeddings)]
        facts = job_facts(config, embedders)
        own = [
            {
                "document_id": row["id"],
                "text": row["text"],
                "payload": json.dumps({key: row[key] for key in ("year", "lang") if key in row}),
                "origin": "here",
                "chunk_no": 0,
                "chunk_start": 0,
                "chunk_end": len(row["text"]),
                "chunk_count": 1,
            }
            for row in documents
        ]
        rows = identify(pa.Table.from_pylist(own, schema=CHUNK_SCHEMA), config.corpus, chunked=False)
        for embedder in embedders:
            rows = embedder.embed(rows)
        sink = make_sink(config.sink[0])
        sink.open(facts)
        try:
            assert sink.connect().write(rows).written == len(documents)
        finally:
            sink.finish(completed=completed)


MakeCollection = Callable[..., Collection]


def embeddings_of(minilm: Path) -> list[dict[str, Any]]:
    # No package carries a ColBERT: MiniLM's token vectors stand in, as a model of one's own.
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
    place = {"path": str(folder / "qdrant"), "collection": "docs"}
    job = {
        "source": {"path": "unused.jsonl"},
        "embeddings": embeddings_of(minilm),
        "sink": {"type": "qdrant", **place},
        "searches": {"staged": {"using": "colbert", "rescore": "colbert_multivector", "candidates": 4}},
    }
    collection = Collection(job, place)
    collection.fill(DOCUMENTS)
    return collection


@pytest.fixture
def copied(filled: Collection, tmp_path: Path) -> Collection:
    """A copy of the collection that no other searcher has open."""
    place = {**filled.place, "path": str(tmp_path / "qdrant")}
    shutil.copytree(filled.place["path"], place["path"])
    return Collection({**filled.job, "sink": {"type": "qdrant", **place}}, place)


@pytest.fixture(scope="module")
def searcher(filled: Collection) -> Iterator[Searcher]:
    with Searcher.open(filled.place["collection"], path=filled.place["path"]) as searcher:
        yield searcher
