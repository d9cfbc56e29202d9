"""Searches a collection: one vector, several fused, or in stages, with the models that its job used."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any

from qdrant_client import QdrantClient

from embedders.base import VectorSpec
from embedders.prompts import is_unicode
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.config.file import load_config
from pipelines.config.job import JobConfig
from pipelines.config.search import RerankConfig, SearchConfig
from pipelines.config.section import make_section
from pipelines.config.shown import shown
from pipelines.config.source import SourceConfig
from pipelines.errors import ConfigError, SinkError
from pipelines.search.filters import FilterLike
from pipelines.search.followed import FollowedName
from pipelines.search.hits import Hit, Hits, Payload, with_payload_of
from pipelines.search.page import Page
from pipelines.search.query_models import with_models
from pipelines.search.request import needs_version, refuse_old_server
from pipelines.search.rerank import Reranker
from pipelines.search.searched import SearchedCollection, ask
from pipelines.sinks.qdrant.client import address_of, has_indexes, open_client
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.description import CollectionDescription
from pipelines.sinks.qdrant.folder_engine import EDGE_FILE, LOCAL_FILE, engine_of


class Searcher:
    """Searches one collection, or what an alias names; close it, or use it in ``with``.

    ``Searcher.from_config`` opens the collection of a job, with the models of its configuration. ``Searcher.open``
    opens any collection, with the models that its job wrote down in it, or that the caller names. ``ways`` are the
    job's ``searches`` by name.

    Of an alias, each ``search`` asks first which collection it names, and encodes the query with that collection's
    models, also where the alias has moved since the last one: no question meets vectors of another model. All other
    methods and properties are those of the collection that was found by the last ``search`` or ``follow``. Several
    threads may search at once.
    """

    def __init__(
        self,
        sink: QdrantSinkConfig,
        embeddings: Callable[[CollectionDescription], Mapping[str, EmbeddingConfig]],
        client: QdrantClient | None = None,
    ) -> None:
        """Open a collection; ``embeddings`` chooses by its description what encodes the queries of each vector.

        A ``client`` of the caller's own is used in the place of a new one, and is not closed. Raises SinkError for a
        collection that does not exist, ConfigError where no model of its vectors is known.
        """
        self._sink = sink
        # Of a job: where the images of hits are.
        self._source: SourceConfig | None = None
        self._rerankers: dict[RerankConfig, Reranker] = {}
        self._closes = client is None
        if client is None and sink.folder is not None:
            _refuse_other_folders(Path(sink.folder).expanduser())
        self.client: QdrantClient = open_client(sink) if client is None else client
        self.ways: Mapping[str, SearchConfig] = {}
        try:
            self._name = FollowedName(self.client, sink, embeddings)
        except BaseException:
            self.close()
            raise

    @classmethod
    def from_config(cls, job: str | Path | dict[str, Any] | JobConfig, overrides: Sequence[str] = ()) -> Searcher:
        """Open the collection of a job's first Qdrant sink; raises ConfigError when the job has none.

        An average length that the job measures is read from the collection. Where the sink has an alias, that is
        opened, with the models that the collection behind it tells of: they may be another job's before a switch. So is
        that of a job without embeddings, whose source brought the vectors.
        """
        config = load_config(job, overrides, needs_place=False)
        sinks = [sink for sink in config.sink if isinstance(sink, QdrantSinkConfig)]
        if not sinks:
            raise ConfigError("sink: the job has no qdrant sink, so there is no collection to search")
        own = {vector: one for one in config.embeddings for vector in one.vector_names}
        searcher = cls(sinks[0], partial(with_models, models={}) if sinks[0].alias or not own else lambda _: own)
        searcher.ways = config.searches
        searcher._source = config.source
        return searcher

    @classmethod
    def open(
        cls,
        collection: str,
        *,
        url: str | None = None,
        path: str | Path | None = None,
        client: QdrantClient | None = None,
        models: Mapping[str, str | dict[str, Any]] | None = None,
        **connection: Any,
    ) -> Searcher:
        """Open a collection, or an alias, on a server (``url``), or a collection in a folder (``path``).

        ``path=":memory:"`` is what jobs of this process have filled in its memory. A ``client`` in the place of both is
        asked as it is, a server's, a folder's or one in memory, and stays open.
        The job that filled it wrote down its embeddings. ``models`` names others: it maps a vector to a catalog model's
        name, or to keys of an embedding as a job's YAML has them: ``{"path": ...}`` alone says where the model's files
        are now. ``connection`` holds further keys of a Qdrant sink, such as ``api_key="${NAME}"``.
        """
        address = {"url": url, "path": None if path is None else str(path)}
        if client is not None:
            if url is not None or path is not None:
                raise ConfigError("collection: give a client, or a url or path to connect to, and not both")
            address = address_of(client)
        sink = make_section(
            QdrantSinkConfig, {"type": "qdrant", "collection": collection, **address, **connection}, "collection"
        )
        return cls(sink, partial(with_models, models=models or {}), client)

    def __repr__(self) -> str:
        return f"Searcher({self._sink.place}; searches by {', '.join(self.names)})"

    @property
    def collection(self) -> str:
        """The collection's name, or the alias by which it is asked."""
        return self._sink.searched

    @property
    def description(self) -> CollectionDescription:
        """What the collection says of itself."""
        return self._name.now.description

    @property
    def vectors(self) -> dict[str, VectorSpec]:
        """The collection's vectors by name: each one's VectorSpec."""
        return self.description.vectors

    @property
    def names(self) -> tuple[str, ...]:
        """The vectors that find candidates: those with an index for which queries can be encoded."""
        return self._name.now.names

    @property
    def default_vectors(self) -> list[str]:
        """The vectors that find candidates for a text."""
        return self._name.now.able("")

    def search(
        self,
        query: str | Path,
        using: str | Sequence[str] | None = None,
        limit: int = 5,
        *,
        way: SearchConfig | Mapping[str, Any] | str | None = None,
        offset: int = 0,
        filter: FilterLike | None = None,
        with_payload: Payload = True,
        **settings: Any,
    ) -> Hits:
        """Find the nearest points to a text, or to the image at a Path.

        ``using`` names one vector, or several whose results are fused; left out, it is all that can search for the
        query. ``settings`` are further keys of SearchConfig: ``fusion``, ``rrf_k``, ``weights``, ``rescore``,
        ``candidates``, ``rerank``, ``exact``, ``hnsw_ef``. ``way`` is a whole SearchConfig, or the name of one of the
        job's ``searches``. ``filter`` is Qdrant's, its JSON, or conditions such as "year>=2020"; all of several must
        hold. ``with_payload`` may list the keys that hits keep. Raises ConfigError for what cannot be asked, SinkError
        for a server that does not answer.
        """
        if not isinstance(query, str | Path):
            raise ConfigError(f"the query must be a text, or the Path of an image; got {shown(query)}")
        if isinstance(query, str) and not is_unicode(query):
            raise ConfigError("the query is not valid text: write it in UTF-8")
        page = Page(limit, offset, filter, [with_payload] if isinstance(with_payload, str) else with_payload)
        wanted = self._way(way)

        def answer(searched: SearchedCollection) -> list[Hit]:
            plan = searched.plan(query, using, wanted, settings)
            vectors = searched.encode(query, [*plan.using, *([plan.rescore] if plan.rescore is not None else [])])
            if plan.rerank is None:
                return self._find(searched, vectors, plan, page)
            if not isinstance(query, str):
                raise ConfigError("rerank: a reranker reads texts, and the query is an image")
            candidates = Page(max(limit + offset, plan.rerank.candidates), filter=filter)
            found = self.rerank(query, self._find(searched, vectors, plan, candidates), plan)
            return [with_payload_of(hit, page.payload) for hit in found[offset : offset + limit]]

        return Hits(self._name.answer(answer), self._source)

    def follow(self) -> None:
        """Look which collection the alias names now, for ``plan``, ``encode`` and ``find``; ``search`` does so itself.

        Nothing is asked where the searcher was opened on a collection. Raises SinkError for an alias that is gone.
        """
        self._name.follow()

    def plan(
        self,
        query: str | Path,
        using: str | Sequence[str] | None = None,
        way: SearchConfig | Mapping[str, Any] | str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> SearchConfig:
        """Complete a way to search for a query, and check it; its ``using`` is not empty. Raises ConfigError.

        ``using`` and ``settings`` go before what ``way`` says.
        """
        return self._name.now.plan(query, using, self._way(way), settings)

    def encode(self, query: str | Path, names: Collection[str]) -> dict[str, Any]:
        """Encode a query for vectors by name, as Qdrant's models hold them; None where it has no terms or tokens."""
        return self._name.now.encode(query, names)

    def find(self, vectors: Mapping[str, Any], way: SearchConfig, page: Page) -> list[Hit]:
        """Ask the collection with a query's vectors (see ``encode``) in a complete way (see ``plan``)."""
        return self._find(self._name.now, vectors, way, page)

    def rerank(self, query: str, hits: Sequence[Hit], way: SearchConfig) -> list[Hit]:
        """Order the first hits anew by the way's cross encoder; those behind them keep their order."""
        if way.rerank is None:
            return list(hits)
        if way.rerank not in self._rerankers:
            self._rerankers[way.rerank] = Reranker(way.rerank)
        return self._rerankers[way.rerank].order(query, hits)

    def close(self) -> None:
        """Close the connection; a folder's lock goes with it. A client of the caller's own stays open."""
        if self._closes:
            self.client.close()

    def __enter__(self) -> Searcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _find(
        self, searched: SearchedCollection, vectors: Mapping[str, Any], way: SearchConfig, page: Page
    ) -> list[Hit]:
        if not has_indexes(self.client, self._sink.path):
            # This embedded engine has no index to go round, and warns of such settings.
            way = way.model_copy(update={"exact": False, "hnsw_ef": None})
        elif self._sink.path is None and needs_version(way):
            refuse_old_server(way, self._server_version, self._sink.place)
        return searched.find(vectors, way, page)

    def _way(self, way: SearchConfig | Mapping[str, Any] | str | None) -> SearchConfig | Mapping[str, Any] | None:
        if not isinstance(way, str):
            return way
        if way not in self.ways:
            raise ConfigError(f"there is no search {shown(way)}; the job names {', '.join(self.ways) or 'none'}")
        return self.ways[way]

    @cached_property
    def _server_version(self) -> str:
        """The server's version; empty where it does not say, as behind a proxy that serves collections alone."""
        try:
            return ask(self._sink, self.client.info).version
        except SinkError:
            return ""


def _refuse_other_folders(folder: Path) -> None:
    if not folder.is_dir():
        raise SinkError(f"there is no folder {folder} yet; run the job first")
    # The engines would make a store of any folder that they open.
    if engine_of(folder) is None:
        raise SinkError(f"{folder} is no Qdrant folder: it has no {EDGE_FILE} or {LOCAL_FILE}; run the job first")
