"""HNSW for a Qdrant folder of engine local: a copy of its points in a folder of engine edge.

qdrant-client's engine for folders compares a query with every point. qdrant-edge runs the segments of a Qdrant server,
with their graphs and their defaults.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qdrant_client import QdrantClient, models

from embedders.errors import FleetembedError
from pipelines.errors import SinkError
from pipelines.evaluation.engines.points import pages
from pipelines.evaluation.packages import versions
from pipelines.filesystem import write_json
from pipelines.search.hits import Hit
from pipelines.sinks.qdrant.client import build_indexes, open_folder
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.vectors import quantization

POINTS_A_BATCH = 200
MARKER = "made_of.json"


def edge_version() -> str | None:
    """Return the version of qdrant-edge-py, None where it is not installed; it has no wheel for some platforms."""
    return versions().get("qdrant-edge-py")


@dataclass(frozen=True)
class Original:
    """The collection that is copied; ``provenance`` says what made it, and a copy of another is made anew."""

    client: QdrantClient
    config: QdrantSinkConfig
    provenance: Mapping[str, Any]


class EdgeCopy:
    """A copy of a collection in a folder, under the same name, indexed as a Qdrant server would do it by itself."""

    def __init__(self, folder: Path, original: Original, progress: Callable[[int], None] = lambda points: None) -> None:
        """Open the copy if it is one of this very collection, else make it; raises SinkError where that fails."""
        self._client: QdrantClient | None = None
        self._name = original.config.collection
        marker, place = folder / MARKER, str(folder / "qdrant")
        try:
            if _read(marker) == dict(original.provenance):
                self._client = open_folder(place, "edge")
            else:
                shutil.rmtree(folder, ignore_errors=True)
                self._client = open_folder(place, "edge")
                self._fill(original, progress)
                write_json(marker, dict(original.provenance))
        except FleetembedError:
            self.close()
            raise
        except Exception as error:
            self.close()
            raise SinkError(f"{folder}: the copy for HNSW cannot be made: {error}") from None

    @property
    def points(self) -> int:
        """Number of points."""
        return self._opened.count(self._name).count

    @property
    def indexed_vectors(self) -> int:
        """Vectors in an index; sparse ones always are."""
        return self._opened.get_collection(self._name).indexed_vectors_count or 0

    def prepare(self, request: Mapping[str, Any], *, limit: int, with_payload: list[str]) -> Callable[[], list[Hit]]:
        """Take the arguments of ``QdrantClient.query_points``; what is returned asks."""
        client = self._opened

        def ask() -> list[Hit]:
            found = client.query_points(self._name, limit=limit, with_payload=with_payload, **request).points
            return [Hit(str(point.id), point.score, point.payload or {}) for point in found]

        return ask

    def close(self) -> None:
        """Close the copy; its files stay."""
        if self._client is not None:
            self._client.close()
            self._client = None

    @property
    def _opened(self) -> QdrantClient:
        if self._client is None:
            raise RuntimeError("the copy is closed")
        return self._client

    def _fill(self, original: Original, progress: Callable[[int], None]) -> None:
        client, name = self._opened, self._name
        params = original.client.get_collection(name).config.params
        client.create_collection(
            name,
            vectors_config=params.vectors or {},
            sparse_vectors_config=params.sparse_vectors,
            quantization_config=quantization(original.config),
        )
        for points in pages(original.client, name, POINTS_A_BATCH):
            vectors: list[Any] = [point.vector for point in points]
            copies = [
                models.PointStruct.model_construct(id=point.id, vector=vector, payload=point.payload)
                for point, vector in zip(points, vectors, strict=True)
            ]
            client.upsert(name, copies, wait=True)
            progress(len(points))
        build_indexes(client, original.config)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
