"""Searches a collection: one vector, several fused, or in stages, with the models that its job used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from qdrant_client import QdrantClient

from embedders.base import VectorSpec
from embedders.prompts import is_unicode
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.config.file import load_config
from pipelines.config.job import JobConfig
from pipelines.config.search import RerankConfig, SearchConfig
from pipelines.config.section import make_section
from pipelines.errors import ConfigError, SinkError
from pipelines.search.filters import FilterLike, build_filter
from pipelines.search.hits import Hit, Payload, with_payload_of
from pipelines.search.query_models import make_encoders, with_models
from pipelines.search.request import build_request, needs_version, refuse_old_server
from pipelines.search.rerank import Reranker
from pipelines.sinks.qdrant.client import open_client
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.description import CollectionDescription, describe_collection
from pipelines.sinks.qdrant.retry import call

log = logging.getLogger("fleetembed")
T = TypeVar("T")

SECONDS_OF_PATIENCE = 15.0


class Searcher:
    """Searches one collection; close it, or use it in ``with``.

    ``Searcher.from_config`` opens the collection of a job, with the models of its configuration. ``Searcher.open``
    opens any collection, with the models that its job wrote down in it, or that the caller names.
    ``description`` is what the collection says of itself, ``ways`` are the job's ``searches`` by name.
    """

    def __init__(
        self, sink: QdrantSinkConfig, embeddings: Callable[[CollectionDescription], Mapping[str, EmbeddingConfig]]
    ) -> None:
        """Open a collection; ``embeddings`` chooses by its description what encodes the queries of each vector.

        Raises SinkError for a collection that does not exist, ConfigError where no model of its vectors is known.
        """
        self._sink = sink
        self._rerankers: dict[RerankConfig, Reranker] = {}
        if sink.path is not None:
            _refuse_other_folders(Path(sink.path).expanduser())
        self.client: QdrantClient = open_client(sink)
        self.ways: Mapping[str, SearchConfig] = {}
        try:
            if not self._ask(lambda: self.client.collection_exists(sink.searched)):
                missing, advice = ("collection", "run the job first")
                if sink.alias is not None:
                    missing, advice = ("alias", "run `fleetembed reindex run`, then `fleetembed reindex switch`")
                raise SinkError(f"{missing} {sink.place} does not exist yet; {advice}{self._others()}")
            self.description: CollectionDescription = describe_collection(
                self._ask(lambda: self.client.get_collection(sink.searched))
            )
            self._encoders = make_encoders(embeddings(self.description), self.description, sink.place)
            self._warn()
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
        config = load_config(job, overrides)
        sinks = [sink for sink in config.sink if isinstance(sink, QdrantSinkConfig)]
        if not sinks:
            raise ConfigError("sink: the job has no qdrant sink, so there is no collection to search")
        own = {vector: one for one in config.embeddings for vector in one.vector_names}
        searcher = cls(sinks[0], partial(with_models, models={}) if sinks[0].alias or not own else lambda _: own)
        searcher.ways = config.searches
        return searcher

    @classmethod
    def open(
        cls,
        collection: str,
        *,
        url: str | None = None,
        path: str | Path | None = None,
        models: Mapping[str, str | dict[str, Any]] | None = None,
        **connection: Any,
    ) -> Searcher:
        """Open a collection on a server (``url``) or in a folder (``path``).

        The job that filled it wrote down its embeddings. ``models`` names others: it maps a vector to a catalog model's
        name, or to keys of an embedding as a job's YAML has them: ``{"path": ...}`` alone says where the model's files
        are now. ``connection`` holds further keys of a Qdrant sink, such as ``api_key="${NAME}"``.
        """
        address = {"url": url, "path": None if path is None else str(path)}
        sink = make_section(
            QdrantSinkConfig, {"type": "qdrant", "collection": collection, **address, **connection}, "collection"
        )
        return cls(sink, partial(with_models, models=models or {}))

    @property
    def collection(self) -> str:
        """The collection's name, or the alias by which it is asked."""
        return self._sink.searched

    @property
    def vectors(self) -> dict[str, VectorSpec]:
        """The collection's vectors by name: each one's VectorSpec."""
        return self.description.vectors

    @property
    def names(self) -> tuple[str, ...]:
        """The vectors that find candidates: those with an index for which queries can be encoded."""
        return tuple(name for name in self._encoders if name not in self.description.rescoring)

    @property
    def default_vectors(self) -> list[str]:
        """The vectors that find candidates for a text."""
        return self._able("")

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
    ) -> list[Hit]:
        """Find the nearest points to a text, or to the image at a Path.

        ``using`` names one vector, or several whose results are fused; left out, it is all that can search for the
        query. ``settings`` are further keys of SearchConfig: ``fusion``, ``rrf_k``, ``weights``, ``rescore``,
        ``candidates``, ``rerank``, ``exact``, ``hnsw_ef``. ``way`` is a whole SearchConfig, or the name of one of the
        job's ``searches``. ``filter`` is Qdrant's, its JSON, or conditions such as "year>=2020"; all of several must
        hold. ``with_payload`` may list the keys that hits keep. Raises ConfigError for what cannot be asked, SinkError
        for a server that does not answer.
        """
        if not isinstance(query, str | Path):
            raise ConfigError(f"the query must be a text, or the Path of an image; got {query!r}")
        if isinstance(query, str) and not is_unicode(query):
            raise ConfigError("the query is not valid text: write it in UTF-8")
        _refuse_page(limit, offset)
        if isinstance(with_payload, str):
            with_payload = [with_payload]
        plan = self.plan(query, using, way, settings)
        vectors = self.encode(query, [*plan.using, *([plan.rescore] if plan.rescore is not None else [])])
        if plan.rerank is None:
            return self.find(vectors, plan, limit=limit, offset=offset, filter=filter, with_payload=with_payload)
        if not isinstance(query, str):
            raise ConfigError("rerank: a reranker reads texts, and the query is an image")
        hits = max(limit + offset, plan.rerank.candidates)
        found = self.rerank(query, self.find(vectors, plan, limit=hits, filter=filter), plan)
        return [with_payload_of(hit, with_payload) for hit in found[offset : offset + limit]]

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
        if isinstance(way, str):
            if way not in self.ways:
                raise ConfigError(f"there is no search {way!r}; the job names {', '.join(self.ways) or 'none'}")
            way = self.ways[way]
        keys = way.model_dump(exclude_unset=True) if isinstance(way, SearchConfig) else way or {}
        vectors = {} if using is None else {"using": list(using) if isinstance(using, tuple) else using}
        plan = make_section(SearchConfig, {**keys, **vectors, **(settings or {})}, "search")
        names = plan.using or self._able(query)
        for name in [*names, *([plan.rescore] if plan.rescore is not None else [])]:
            self._refuse_unknown(name, query)
        if not names:
            able = [name for name, encoder in self._encoders.items() if encoder.takes(query)]
            if able:
                raise ConfigError(f"no vector here has an index of its own; name one in using ({', '.join(able)})")
            raise ConfigError("; ".join(dict.fromkeys(encoder.refusal(query) for encoder in self._encoders.values())))
        return plan.model_copy(update={"using": names})

    def encode(self, query: str | Path, names: Collection[str]) -> dict[str, Any]:
        """Encode a query for vectors by name, as Qdrant's models hold them; None where it has no terms or tokens."""
        encoded: dict[str, Any] = {}
        for encoder in dict.fromkeys(self._encoders[name] for name in names):
            wanted = [name for name in names if self._encoders[name] is encoder]
            encoded |= encoder.encode(query, self.description.vectors, wanted)
        return encoded

    def find(
        self,
        vectors: Mapping[str, Any],
        way: SearchConfig,
        *,
        limit: int,
        offset: int = 0,
        filter: FilterLike | None = None,
        with_payload: Payload = True,
    ) -> list[Hit]:
        """Ask the collection with a query's vectors (see ``encode``) in a complete way (see ``plan``)."""
        _refuse_page(limit, offset)
        if self._sink.path is not None:
            # The embedded engine has no index to go round, and warns of such settings.
            way = way.model_copy(update={"exact": False, "hnsw_ef": None})
        elif needs_version(way):
            refuse_old_server(way, self._server_version, self._sink.place)
        asked = build_request(way, vectors, hits=limit + offset, filter=build_filter(filter))
        if asked is None:
            log.warning("the query has no term that %s knows, so nothing is found", " or ".join(way.using))
            return []
        payload = list(with_payload) if not isinstance(with_payload, bool) else with_payload
        find = partial(self.client.query_points, self.collection, limit=limit, offset=offset, with_payload=payload)
        response = self._ask(lambda: find(**asked))
        return [Hit(str(point.id), point.score, point.payload or {}) for point in response.points]

    def rerank(self, query: str, hits: Sequence[Hit], way: SearchConfig) -> list[Hit]:
        """Order the first hits anew by the way's cross encoder; those behind them keep their order."""
        if way.rerank is None:
            return list(hits)
        if way.rerank not in self._rerankers:
            self._rerankers[way.rerank] = Reranker(way.rerank)
        return self._rerankers[way.rerank].order(query, hits)

    def close(self) -> None:
        """Close the connection; a folder's lock goes with it."""
        self.client.close()

    def __enter__(self) -> Searcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def _server_version(self) -> str:
        """The server's version; empty where it does not say, as behind a proxy that serves collections alone."""
        try:
            return self._ask(self.client.info).version
        except SinkError:
            return ""

    def _able(self, query: str | Path) -> list[str]:
        return [name for name in self.names if self._encoders[name].takes(query)]

    def _refuse_unknown(self, name: str, query: str | Path) -> None:
        if name not in self._encoders:
            known = ", ".join(self._encoders)
            raise ConfigError(f"{name!r} is no vector whose queries can be encoded; there are {known}")
        if not self._encoders[name].takes(query):
            raise ConfigError(self._encoders[name].refusal(query))

    def _warn(self) -> None:
        for name, why in self.description.unreadable.items():
            if name not in self._encoders:
                log.warning(
                    "%s: this version cannot read how queries of %r are encoded (%s), so it is not searched; name its "
                    "model (--model), or give the job's configuration",
                    self._sink.place,
                    name,
                    why,
                )
        if self.description.complete is False:
            log.warning(
                "%s is being filled, or its job was stopped before the end: documents may be missing from what is "
                "found. Run the job to its end",
                self._sink.place,
            )
        elif not self._ask(lambda: self.client.count(self.collection, exact=False)).count:
            log.warning("%s is empty: run the job that fills it", self._sink.place)

    def _others(self) -> str:
        names = sorted(collection.name for collection in self._ask(self.client.get_collections).collections)
        return f" (there are {', '.join(names[:10])})" if names else ""

    def _ask(self, request: Callable[[], T]) -> T:
        return call(request, what=f"searching {self._sink.place}", seconds=SECONDS_OF_PATIENCE, comfort="")


def _refuse_other_folders(folder: Path) -> None:
    if not folder.is_dir():
        raise SinkError(f"there is no folder {folder} yet; run the job first")
    # The engine would make a store of any folder that it opens.
    if not (folder / "meta.json").is_file():
        raise SinkError(f"{folder} is no Qdrant folder: it has no meta.json; run the job first")


def _refuse_page(limit: int, offset: int) -> None:
    for name, value, least in (("limit", limit, 1), ("offset", offset, 0)):
        if type(value) is not int or not least <= value < 2**31:
            raise ConfigError(f"{name} must be a whole number of {least} or more, got {value!r}")
