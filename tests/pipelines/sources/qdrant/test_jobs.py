"""Jobs that embed a collection anew, from one collection to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.pipelines.sources.qdrant.jobs import documents, job, run
from tests.qdrant_server.process import QdrantTestServer

PROSE = "She was running home. " * 30
ROWS: list[dict[str, Any]] = [
    *({"id": f"d{n}", "text": f"{PROSE} number {n}", "n": n, "tags": ["a", None]} for n in range(30)),
    {"id": "odd", "text": "short", "document_id": "mine", "payload": {"deep": 1}, "chunk_no": 7, "price": 1.0},
    {"id": "", "text": "without an id"},
]
MARK = "_fleetembed"


def word_tokenizer(folder: Path) -> str:
    """A tokenizer of words."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return str(folder / "tokenizer.json")


def points(client: QdrantClient, name: str) -> dict[Any, dict[str, Any]]:
    found, _ = client.scroll(name, limit=10_000, with_vectors=True)
    return {point.id: {"payload": dict(point.payload or {}), "vector": point.vector} for point in found}


@pytest.mark.parametrize("chunked", [True, False])
def test_points_keep_ids_documents_chunks_and_payload(
    tmp_path: Path, qdrant_server: QdrantTestServer, qdrant_client: QdrantClient, chunked: bool
) -> None:
    chunking = {"tokenizer": word_tokenizer(tmp_path), "max_tokens": 64, "overlap": 8} if chunked else None
    sink = {"url": qdrant_server.url, "collection": "old"}
    first = run(tmp_path, "old", documents(tmp_path, ROWS), sink, chunking=chunking)
    assert first.rows["written"] == first.rows["chunked"] > (len(ROWS) if chunked else 0)
    source = {"qdrant": {"url": qdrant_server.url, "collection": "old", "page_points": 7}}
    again = run(tmp_path, "new", source, {**sink, "collection": "new"}, language="german")
    assert again.status == "complete" and again.documents == again.rows["written"] == first.rows["written"]

    old, new = points(qdrant_client, "old"), points(qdrant_client, "new")
    assert old.keys() == new.keys() and len(old) == first.rows["written"]
    for name, point in old.items():
        held, made = (one["payload"].pop(MARK) for one in (point, new[name]))
        assert held["content_hash"] == made["content_hash"] and held["fingerprint"] != made["fingerprint"]
        assert point["payload"] == new[name]["payload"]
    assert any(point["vector"] != new[name]["vector"] for name, point in old.items())

    third = run(tmp_path, "new", source, {**sink, "collection": "new"}, language="german")
    assert (third.rows["skipped"], third.rows["embedded"]) == (len(old), 0)
