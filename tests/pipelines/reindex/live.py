"""A collection that lives on: a program of its own writes to it, while a job copies it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qdrant_client import QdrantClient, models

from tests.pipelines.reindex.conftest import Story

OLD = "old-docs"
Payloads = dict[int, dict[str, Any]]


def text(number: int, edition: int = 1) -> str:
    return f"word{number} in edition {edition}"


def write(client: QdrantClient, collection: str, *points: tuple[int, dict[str, Any]]) -> None:
    """Write points as a program of its own would: without vectors, which are not looked at here."""
    client.upsert(collection, [models.PointStruct(id=name, vector={}, payload=load) for name, load in points])


def live(story: Story, points: int) -> Payloads:
    """Make a collection that nobody of ours filled, with integer ids, and let the alias name it."""
    old = {"old": models.VectorParams(size=2, distance=models.Distance.COSINE)}
    story.client.create_collection(OLD, old)
    payloads: Payloads = {number: {"text": text(number), "n": number} for number in range(points)}
    write(story.client, OLD, *payloads.items())
    story.let_alias_name(OLD)
    return payloads


def copying(story: Story, *, source: str = "docs", blocks: int = 128, **reindex: Any) -> Path:
    """The configuration of a job that copies what the alias names, or a collection."""
    path = story.config("v2", batch_points=128)
    job = json.loads(path.read_text())
    job |= {"source": {"qdrant": {"url": story.server.url, "collection": source, "page_points": 128}}}
    path.write_text(json.dumps({**job, "reindex": reindex, "compute": {"engine": "local", "block_rows": blocks}}))
    return path


def held(client: QdrantClient, collection: str) -> Payloads:
    """A collection's payloads, without what the job adds."""
    found: Payloads = {}
    for point in client.scroll(collection, limit=10_000)[0]:
        assert isinstance(point.id, int) and point.id not in found
        added = ("_fleetembed", "document_id")
        found[point.id] = {key: value for key, value in (point.payload or {}).items() if key not in added}
    return found


def made_by(client: QdrantClient, collection: str) -> dict[int, str]:
    """The texts by which the vectors of a collection's copied points were made."""
    found = client.scroll(collection, limit=10_000, with_vectors=True)[0]
    return {int(point.id): str(point.vector) for point in found}
