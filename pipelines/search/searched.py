"""One collection as it is searched: its vectors, the models that encode queries for them, and requests to it alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from qdrant_client import QdrantClient

from pipelines.config.embeddings import EmbeddingConfig
from pipelines.config.search import SearchConfig
from pipelines.config.section import make_section
from pipelines.errors import ConfigError
from pipelines.search.filters import build_filter
from pipelines.search.hits import Hit
from pipelines.search.page import Page
from pipelines.search.query_models import make_encoders
from pipelines.search.request import build_request
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.description import CollectionDescription, describe_collection
from pipelines.sinks.qdrant.retry import call

log = logging.getLogger("fleetembed")
T = TypeVar("T")

SECONDS_OF_PATIENCE = 15.0


def ask(sink: QdrantSinkConfig, request: Callable[[], T]) -> T:
    """Make a request of a search; raises SinkError."""
    return call(request, what=f"searching {sink.place}", seconds=SECONDS_OF_PATIENCE, comfort="")


class SearchedCollection:
    """A collection under its own name, which no alias can move away from under a question.

    ``description`` is what it says of itself. ``sink`` says where it is, and in messages what it is called.
    """

    def __init__(
        self,
        client: QdrantClient,
        sink: QdrantSinkConfig,
        name: str,
        embeddings: Callable[[CollectionDescription], Mapping[str, EmbeddingConfig]],
    ) -> None:
        """Read what the collection says; ``embeddings`` chooses by that what encodes the queries of each vector.

        Raises SinkError for a server that does not answer, ConfigError where no model of its vectors is known.
        """
        self.name = name
        self._client, self._sink = client, sink
        self.description: CollectionDescription = describe_collection(
            self._ask(lambda: client.get_collection(self.name))
        )
        self._encoders = make_encoders(embeddings(self.description), self.description, sink.place)
        self._warn()

    @property
    def names(self) -> tuple[str, ...]:
        """The vectors that find candidates: those with an index for which queries can be encoded."""
        return tuple(name for name in self._encoders if name not in self.description.rescoring)

    def able(self, query: str | Path) -> list[str]:
        """List the vectors that find candidates for a query."""
        return [name for name in self.names if self._encoders[name].takes(query)]

    def plan(
        self,
        query: str | Path,
        using: str | Sequence[str] | None = None,
        way: SearchConfig | Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> SearchConfig:
        """Complete a way to search for a query, and check it; see ``Searcher.plan``."""
        keys = way.model_dump(exclude_unset=True) if isinstance(way, SearchConfig) else way or {}
        vectors = {} if using is None else {"using": list(using) if isinstance(using, tuple) else using}
        plan = make_section(SearchConfig, {**keys, **vectors, **(settings or {})}, "search")
        names = plan.using or self.able(query)
        for name in [*names, *([plan.rescore] if plan.rescore is not None else [])]:
            self._refuse_unknown(name, query)
        if not names:
            able = [name for name, encoder in self._encoders.items() if encoder.takes(query)]
            if able:
                raise ConfigError(f"no vector here has an index of its own; name one in using ({', '.join(able)})")
            raise ConfigError("; ".join(dict.fromkeys(encoder.refusal(query) for encoder in self._encoders.values())))
        return plan.model_copy(update={"using": names})

    def encode(self, query: str | Path, names: Collection[str]) -> dict[str, Any]:
        """Encode a query for vectors by name; see ``Searcher.encode``."""
        encoded: dict[str, Any] = {}
        for encoder in dict.fromkeys(self._encoders[name] for name in names):
            wanted = [name for name in names if self._encoders[name] is encoder]
            encoded |= encoder.encode(query, self.description.vectors, wanted)
        return encoded

    def find(self, vectors: Mapping[str, Any], way: SearchConfig, page: Page) -> list[Hit]:
        """Ask the collection with a query's vectors in a complete way; see ``Searcher.find``."""
        asked = build_request(way, vectors, hits=page.limit + page.offset, filter=build_filter(page.filter))
        if asked is None:
            log.warning("the query has no term that %s knows, so nothing is found", " or ".join(way.using))
            return []
        payload = page.payload if isinstance(page.payload, bool) else list(page.payload)
        find = partial(self._client.query_points, self.name, limit=page.limit, offset=page.offset, with_payload=payload)
        response = self._ask(lambda: find(**asked))
        return [Hit(str(point.id), point.score, point.payload or {}) for point in response.points]

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
        elif not self._ask(lambda: self._client.count(self.name, exact=False)).count:
            log.warning("%s is empty: run the job that fills it", self._sink.place)

    def _ask(self, request: Callable[[], T]) -> T:
        return ask(self._sink, request)
