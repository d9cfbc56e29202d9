"""Chooses what answers an evaluation's queries: the collection itself, or its copy in Qdrant's engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from pipelines.config.search import SearchConfig
from pipelines.errors import SinkError
from pipelines.evaluation.engines.collection import EvaluatedCollection
from pipelines.evaluation.engines.edge import EdgeCopy, Original, edge_version
from pipelines.evaluation.engines.points import count_indexed
from pipelines.evaluation.ways import Searchable
from pipelines.search import Hit, Searcher
from pipelines.search.page import Page
from pipelines.search.request import build_request
from pipelines.sinks.qdrant.folder_engine import engine_of

Ask = Callable[[], list[Hit]]


class Engine(Protocol):
    """What answers queries."""

    def prepare(self, search: SearchConfig, vectors: Mapping[str, Any], limit: int, payload: list[str]) -> Ask:
        """Make ready to ask; what is returned is timed."""


class CollectionEngine:
    """The collection itself, through qdrant-client: a server, or an engine for folders."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher

    def prepare(self, search: SearchConfig, vectors: Mapping[str, Any], limit: int, payload: list[str]) -> Ask:
        """See ``Engine``."""
        return lambda: self._searcher.find(vectors, search, Page(limit, payload=payload))


class EdgeEngine:
    """A copy of the collection in Qdrant's engine, which runs in this process."""

    def __init__(self, copy: EdgeCopy) -> None:
        self._copy = copy

    def prepare(self, search: SearchConfig, vectors: Mapping[str, Any], limit: int, payload: list[str]) -> Ask:
        """See ``Engine``."""
        request = build_request(search, vectors, hits=limit)
        return (lambda: []) if request is None else self._copy.prepare(request, limit=limit, with_payload=payload)


def choose_engine(
    collection: EvaluatedCollection,
    folder: Path,
    stack: ExitStack,
    progress: Callable[[int], None],
    *,
    exact_only: bool,
) -> tuple[Engine, dict[str, Any], list[str]]:
    """Choose what answers, open until ``stack`` ends; returns its description too, and notices of what is not measured.

    A copy of the collection goes to ``folder``, and ``progress`` is told of its points. The description is ``engine``,
    ``points``, ``indexed_vectors`` and ``graph``: whether there is an HNSW graph.
    """
    engine = CollectionEngine(collection.searcher)
    path, version = collection.sink.path, edge_version()
    if path is None or engine_of(path) == "edge":
        indexed = 0 if exact_only else count_indexed(collection.searcher.client, collection.sink.collection)
        index = _describe(collection, "a Qdrant server" if path is None else _in_process(version), indexed)
        return engine, index, _about_graph(index, collection.searchable, exact_only=exact_only)
    index = _describe(collection, "qdrant-client's engine for folders", 0)
    if exact_only:
        return engine, index, _about_graph(index, collection.searchable, exact_only=True)
    if version is None:
        missing = "qdrant-edge-py is not installed, and qdrant-client compares a query with every point of a folder"
        return engine, index, [f"HNSW is not measured: {missing}"]
    try:
        copy = _copy(collection, folder, version, stack, progress)
    except SinkError as error:
        return engine, index, [f"HNSW is not measured: {error}"]
    index = _describe(collection, _in_process(version), copy.indexed_vectors)
    return EdgeEngine(copy), index, _about_graph(index, collection.searchable, exact_only=False)


def _in_process(version: str | None) -> str:
    return f"Qdrant's engine in this process (qdrant-edge {version})"


def _copy(
    collection: EvaluatedCollection, folder: Path, version: str, stack: ExitStack, progress: Callable[[int], None]
) -> EdgeCopy:
    sink, points = collection.sink, collection.points
    provenance = {**collection.provenance, "points": points, "quantization": sink.quantization, "engine": version}
    copy = EdgeCopy(folder, Original(collection.searcher.client, sink, provenance), progress)
    stack.callback(copy.close)
    if copy.points != points:
        raise SinkError(f"the copy in {folder} has {copy.points:,} points of {points:,}; delete it")
    return copy


def _describe(collection: EvaluatedCollection, engine: str, indexed: int) -> dict[str, Any]:
    """Describe an engine's index; sparse vectors are always in one, and count too, but have no graph."""
    sparse = sum(spec.kind == "sparse" for spec in collection.searchable.vectors.values())
    graph = indexed > sparse * collection.points
    return {"engine": engine, "points": collection.points, "indexed_vectors": indexed, "graph": graph}


def _about_graph(index: dict[str, Any], searchable: Searchable, *, exact_only: bool) -> list[str]:
    """Say why HNSW is not measured, where there are vectors that a graph is built for."""
    if index["graph"] or all(searchable.vectors[name].kind == "sparse" for name in searchable.finders):
        return []
    if exact_only:
        return ["HNSW is not measured: --exact-only"]
    return [
        "HNSW is not measured: no graph was built, as Qdrant compares a query with every point of a segment whose "
        "vectors take less than its indexing threshold (10 MB)"
    ]
