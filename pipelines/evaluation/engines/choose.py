"""What answers an evaluation's queries: the collection itself, or its copy in Qdrant's own engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipelines.config.search import SearchConfig
from pipelines.errors import SinkError
from pipelines.evaluation import extra
from pipelines.evaluation.engines.edge import EdgeCopy, Original
from pipelines.evaluation.engines.points import count_indexed
from pipelines.evaluation.ways import Searchable
from pipelines.search import Hit, Searcher
from pipelines.search.request import build_request
from pipelines.sinks.qdrant.config import QdrantSinkConfig

Ask = Callable[[], list[Hit]]


class Engine(Protocol):
    """What answers queries."""

    def prepare(self, search: SearchConfig, vectors: Mapping[str, Any], limit: int, payload: list[str]) -> Ask:
        """Make ready to ask; what is returned is timed."""


class CollectionEngine:
    """The collection itself, through qdrant-client: a server, or its engine for folders."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher

    def prepare(self, search: SearchConfig, vectors: Mapping[str, Any], limit: int, payload: list[str]) -> Ask:
        """See ``Engine``."""
        return lambda: self._searcher.find(vectors, search, limit=limit, with_payload=payload)


class EdgeEngine:
    """A copy of the collection in Qdrant's own engine in this process."""

    def __init__(self, copy: EdgeCopy) -> None:
        self._copy = copy

    def prepare(self, search: SearchConfig, vectors: Mapping[str, Any], limit: int, payload: list[str]) -> Ask:
        """See ``Engine``."""
        request = build_request(search, vectors, hits=limit)
        return (lambda: []) if request is None else self._copy.prepare(request, limit=limit, with_payload=payload)


@dataclass(frozen=True)
class Place:
    """The collection with its number of points, and the folder of its copy.

    ``facts`` tell what is in the collection: a copy with other facts is made anew.
    """

    searcher: Searcher
    sink: QdrantSinkConfig
    there: Searchable
    points: int
    folder: Path
    facts: Mapping[str, str]


def choose_engine(
    place: Place, stack: ExitStack, progress: Callable[[int], None], *, exact_only: bool
) -> tuple[Engine, dict[str, Any], list[str]]:
    """Choose what answers, open until ``stack`` ends; says what it is, and what cannot be measured.

    The facts about it are ``engine``, ``points``, ``indexed_vectors`` and ``graph``: whether there is any.
    """
    collection = CollectionEngine(place.searcher)
    if place.sink.url is not None:
        indexed = 0 if exact_only else count_indexed(place.searcher.client, place.searcher.collection)
        index = _index_facts(place, "a Qdrant server", indexed)
        return collection, index, _about_graph(index, place.there, exact_only=exact_only)
    index = _index_facts(place, "qdrant-client's engine for folders", 0)
    if exact_only:
        return collection, index, _about_graph(index, place.there, exact_only=True)
    if not extra.has_edge():
        missing = "qdrant-edge-py is not installed, and qdrant-client compares a query with every point of a folder"
        return collection, index, [f"HNSW is not measured: {missing}"]
    try:
        copy = _copy(place, stack, progress)
    except SinkError as error:
        return collection, index, [f"HNSW is not measured: {error}"]
    name = f"Qdrant's engine in this process (qdrant-edge {extra.versions().get('qdrant-edge-py', '')})"
    index = _index_facts(place, name, copy.indexed_vectors)
    return EdgeEngine(copy), index, _about_graph(index, place.there, exact_only=False)


def _copy(place: Place, stack: ExitStack, progress: Callable[[int], None]) -> EdgeCopy:
    facts = {
        **place.facts,
        "points": place.points,
        "quantization": place.sink.quantization,
        "engine": extra.versions().get("qdrant-edge-py", ""),
    }
    there = place.there
    original = Original(place.searcher.client, place.sink, there.vectors, there.rescoring, facts)
    copy = EdgeCopy(place.folder, original, progress)
    stack.callback(copy.close)
    if copy.points != place.points:
        raise SinkError(f"the copy in {place.folder} has {copy.points:,} points of {place.points:,}; delete it")
    return copy


def _index_facts(place: Place, engine: str, indexed: int) -> dict[str, Any]:
    """Whether there are graphs: sparse vectors are always indexed, and count too."""
    sparse = sum(spec.kind == "sparse" for spec in place.there.vectors.values())
    graph = indexed > sparse * place.points
    return {"engine": engine, "points": place.points, "indexed_vectors": indexed, "graph": graph}


def _about_graph(index: dict[str, Any], there: Searchable, *, exact_only: bool) -> list[str]:
    """Say why HNSW is not measured, where there are vectors that a graph is built for."""
    if index["graph"] or all(there.vectors[name].kind == "sparse" for name in there.finders):
        return []
    if exact_only:
        return ["HNSW is not measured: --exact-only"]
    return [
        "HNSW is not measured: no graph was built, as Qdrant compares a query with every point of a segment whose "
        "vectors take less than its indexing threshold (10 MB)"
    ]
