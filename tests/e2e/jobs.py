"""Small real jobs for end-to-end tests, and ways to read back what they wrote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as pads
import pytest
from qdrant_client import QdrantClient
from rich.console import Console

from pipelines import EmbeddingPipeline
from pipelines.run.report.report import RunReport

# Tests run their jobs in this process, unless only Ray can show something.
RAY = pytest.param("ray", marks=pytest.mark.ray)
ON_RAY = pytest.mark.parametrize("engine", [RAY], indirect=True)
ON_BOTH = pytest.mark.parametrize("engine", ["local", RAY], indirect=True)

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
Row = dict[str, Any]


@dataclass
class Job:
    """A job in a folder of its own: a corpus of JSON lines, MiniLM and BM25, and some sinks."""

    folder: Path
    model: Path
    sinks: list[dict[str, Any]]
    extra: dict[str, Any] = field(default_factory=dict)
    engine: str = "local"

    @property
    def corpus(self) -> Path:
        return self.folder / "corpus.jsonl"

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return found

    def write(self, rows: Sequence[Row]) -> None:
        self.corpus.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def config(self) -> dict[str, Any]:
        base = {
            "corpus": "test",
            "source": {"path": str(self.corpus), "id": "id"},
            "embeddings": [
                {"name": "dense", "model": MINILM, "path": str(self.model)},
                {"name": "bm25", "model": "Qdrant/bm25"},
            ],
            "sink": self.sinks,
            "compute": {"block_rows": 16, "engine": self.engine},
            "report": str(self.folder / "report.json"),
        }
        return {**base, **self.extra}

    def config_file(self) -> Path:
        path = self.folder / "job.yaml"
        path.write_text(json.dumps(self.config()))
        return path

    def run(self) -> RunReport:
        return EmbeddingPipeline.from_config(self.config()).run(console=Console(quiet=True))

    def dead(self) -> dict[str, str]:
        """Reasons of the dead letters by where the row was read."""
        files = sorted((self.folder / "dead_letters").rglob("*.parquet"))
        if not files:
            return {}
        rows = pads.dataset([str(file) for file in files]).to_table().to_pylist()
        return {row["origin"]: f"{row['error']['type']}: {row['error']['message']}" for row in rows}


def parquet_points(folder: Path) -> dict[str, Row]:
    """Rows of a Parquet sink by document id; a document that is there twice is an error."""
    table = pads.dataset(folder, format="parquet").to_table()
    rows = [
        {
            "id": row["id"],
            "document_id": row["document_id"],
            "payload": json.loads(row["payload"]),
            "text": row["text"],
            "dense": np.array(row["dense"], np.float32),
            "bm25": dict(zip(row["bm25"]["indices"], row["bm25"]["values"], strict=True)),
        }
        for row in table.to_pylist()
    ]
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["document_id"]: row for row in rows}


def qdrant_points(client: QdrantClient, collection: str) -> dict[str, Row]:
    """Points of a Qdrant sink by document id, without what the sink itself put beside the payload."""
    points, after = [], None
    while True:
        found, after = client.scroll(collection, limit=500, offset=after, with_payload=True, with_vectors=True)
        points += found
        if after is None:
            break
    assert client.count(collection, exact=True).count == len(points)
    return {point.payload["document_id"]: _row(point) for point in points}


def _row(point: Any) -> Row:
    payload = dict(point.payload)
    sparse = point.vector["bm25"]
    return {
        "id": str(point.id),
        "document_id": payload.pop("document_id"),
        "text": payload.pop("text"),
        "payload": {name: value for name, value in payload.items() if not name.startswith("_")},
        "dense": np.array(point.vector["dense"], np.float32),
        "bm25": dict(zip(sparse.indices, sparse.values, strict=True)),
    }
