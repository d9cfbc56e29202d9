"""Searches the collection that a job filled: one vector, or several fused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import pyarrow as pa
from qdrant_client import QdrantClient, models
from rich.console import Console

from embedders.base import Embedder
from embedders.errors import ImageError
from embedders.prompts import is_unicode
from pipelines.config import JobConfig, QdrantSinkConfig
from pipelines.errors import ConfigError, SinkError
from pipelines.sinks.qdrant_client_factory import open_client
from pipelines.sinks.qdrant_points import vector_lists
from pipelines.sinks.qdrant_retry import call
from pipelines.stages import build_embedder, build_query_encoder

T = TypeVar("T")

SECONDS_OF_PATIENCE = 15.0
# Candidates a vector gives to a fusion, for each hit that is wanted.
CANDIDATES_A_HIT = 5


@dataclass(frozen=True)
class Hit:
    """One found point: its score under the search that found it, and its payload."""

    id: str
    score: float
    payload: dict[str, Any]

    @property
    def title(self) -> str:
        """The document's id, with the chunk's number where the document was cut."""
        name = str(self.payload.get("document_id", self.id))
        chunk = self.payload.get("chunk_no")
        return name if chunk is None else f"{name} (chunk {chunk})"


class Searcher:
    """Searches the Qdrant collection of a job's sink with the job's own models; close it, or use it in ``with``.

    Raises ConfigError when the job has no Qdrant sink, SinkError when the collection is not there.
    """

    def __init__(self, config: JobConfig) -> None:
        sinks = [sink for sink in config.sink if isinstance(sink, QdrantSinkConfig)]
        if not sinks:
            raise ConfigError("sink: the job has no qdrant sink, so there is no collection to search")
        self._sink = sinks[0]
        self._embedders: dict[str, Embedder] = {e.name: build_embedder(e) for e in config.embeddings}
        self._encoders = {e.name: build_query_encoder(e) for e in config.embeddings}
        self._images = [e.name for e in config.embeddings if e.images]
        if self._sink.path is not None and not Path(self._sink.path).expanduser().is_dir():
            raise SinkError(f"there is no folder {self._sink.path} yet; run the job first")
        self._client: QdrantClient = open_client(self._sink)
        try:
            if not self._ask(lambda: self._client.collection_exists(self._sink.collection)):
                raise SinkError(f"collection {self._sink.place} does not exist yet; run the job first")
        except BaseException:
            self.close()
            raise

    @property
    def names(self) -> tuple[str, ...]:
        """The job's embeddings, each of which can be searched alone."""
        return tuple(self._embedders)

    def search(self, query: str | Path, using: str | Sequence[str] = (), limit: int = 5) -> list[Hit]:
        """Find the nearest points to a text, or to the image at a Path.

        ``using`` names one embedding, or several whose results are fused by reciprocal rank (all that can encode such
        a query when left out). A text finds images by the text model that shares the image model's space. Raises
        ConfigError for a name that the job does not have, or that cannot encode the query.
        """
        able = self._images if isinstance(query, Path) else [name for name in self.names if self._encoders[name]]
        names = [using] if isinstance(using, str) else list(using or able)
        for name in names:
            if name not in self._embedders:
                raise ConfigError(f"{name!r} is no embedding of this job; it has {', '.join(self._embedders)}")
            if name not in able:
                raise ConfigError(_unable(name, query))
        if not names:
            raise ConfigError(_unable(", ".join(self.names), query))
        if isinstance(query, str) and not is_unicode(query):
            raise ConfigError("the query is not valid text: write it in UTF-8")
        vectors = {name: self._encode(name, query) for name in names}
        if len(names) == 1:
            asked: dict[str, Any] = {"query": vectors[names[0]], "using": names[0]}
        else:
            depth = limit * CANDIDATES_A_HIT
            asked = {
                "prefetch": [models.Prefetch(query=vectors[name], using=name, limit=depth) for name in names],
                "query": models.FusionQuery(fusion=models.Fusion.RRF),
            }
        find = partial(self._client.query_points, self._sink.collection, limit=limit, with_payload=True)
        found = self._ask(lambda: find(**asked))
        return [Hit(str(point.id), point.score, point.payload or {}) for point in found.points]

    def close(self) -> None:
        """Close the connection; a folder's lock goes with it."""
        self._client.close()

    def __enter__(self) -> Searcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: Callable[[], T]) -> T:
        return call(request, what=f"searching {self._sink.place}", seconds=SECONDS_OF_PATIENCE)

    def _encode(self, name: str, query: str | Path) -> Any:
        if isinstance(query, Path):
            try:
                content = pa.array([query.read_bytes()], pa.large_binary())
                column = self._embedders[name].embed_arrow(content)
            except (OSError, ImageError) as error:
                raise ConfigError(f"the image {query} cannot be searched with: {error}") from None
        else:
            encoder = self._encoders[name]
            assert encoder is not None
            column = encoder.embed_queries_arrow([query])
        return vector_lists(pa.chunked_array([column]), self._embedders[name].spec)[0]


def _unable(name: str, query: str | Path) -> str:
    if isinstance(query, Path):
        return f"{name} embeds texts: search it with a text, not with an image"
    return f"the model of {name} has no text model that shares its space: search it with an image"


def show_hits(hits: Sequence[Hit], console: Console) -> None:
    """Print hits, one a line: score, name and the beginning of the text."""
    for hit in hits:
        text = " ".join(str(hit.payload.get("text", "")).split())
        line = f"  {hit.score:6.3f}  {hit.title}  {text}"
        console.print(line, markup=False, highlight=False, overflow="ellipsis", no_wrap=True)
    if not hits:
        console.print("  nothing found", style="dim")


def show_answers(query: str, searcher: Searcher, console: Console, limit: int = 3) -> None:
    """Print what each embedding alone, and all of them fused, find for a query."""
    console.print(f"\n{query}", style="bold", markup=False, highlight=False)
    ways = [*searcher.names, "fused"] if len(searcher.names) > 1 else list(searcher.names)
    for way in ways:
        console.print(f" {way}", style="cyan")
        show_hits(searcher.search(query, () if way == "fused" else way, limit), console)
