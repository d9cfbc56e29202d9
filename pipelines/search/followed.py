"""The collection that a searcher's name stands for: itself, or what an alias names at each question."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from threading import Lock
from typing import TypeVar

from qdrant_client import QdrantClient

from pipelines.config.embeddings import EmbeddingConfig
from pipelines.errors import SinkError
from pipelines.search.searched import SearchedCollection, ask
from pipelines.sinks.qdrant.aliases import alias_targets
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.description import CollectionDescription
from pipelines.sinks.qdrant.retry import OutOfPatienceError

log = logging.getLogger("fleetembed")
T = TypeVar("T")


class FollowedName:
    """A collection's name, or an alias, which is asked what it names before each question; several threads may ask.

    ``now`` is the collection that was found last. A plain collection costs no further requests.
    """

    def __init__(
        self,
        client: QdrantClient,
        sink: QdrantSinkConfig,
        embeddings: Callable[[CollectionDescription], Mapping[str, EmbeddingConfig]],
    ) -> None:
        """Look for it; see ``SearchedCollection`` for ``embeddings``.

        Raises SinkError for a collection that does not exist, ConfigError where no model of its vectors is known.
        """
        self._client, self._sink, self._embeddings = client, sink, embeddings
        self._moving = Lock()
        if not ask(sink, lambda: client.collection_exists(sink.searched)):
            raise self._missing()
        target = self._target()
        self._moves = target is not None
        self.now = SearchedCollection(client, sink, target or sink.searched, embeddings)

    def answer(self, question: Callable[[SearchedCollection], T]) -> T:
        """Answer a question with the collection that is named now, once more where that one went away meanwhile."""
        searched = None
        try:
            searched = self.follow()
            return question(searched)
        except OutOfPatienceError:
            raise
        except SinkError:
            # Deleted after the alias moved on, between the two requests of this question.
            moved = self.follow()
            if moved is searched:
                raise
            return question(moved)

    def follow(self) -> SearchedCollection:
        """Return the collection that is named now; one that is named newly is read first, and the last one let go.

        Questions that are under way keep theirs, with its models, until they are answered. Raises SinkError for an
        alias that is gone.
        """
        if not self._moves:
            return self.now
        target = self._target()
        if target is None:
            raise self._missing()
        with self._moving:
            if target != self.now.name:
                self.now = SearchedCollection(self._client, self._sink, target, self._embeddings)
                log.info("%s is the collection %s now", self._sink.place, target)
            return self.now

    def _target(self) -> str | None:
        """Read what the name stands for as an alias; None where it is a collection, or nothing says."""
        if self._sink.path is not None:
            return None
        try:
            return ask(self._sink, lambda: alias_targets(self._client)).get(self._sink.searched)
        except OutOfPatienceError:
            raise
        except SinkError as error:
            if self._sink.alias is None:
                # A key for one collection may not read the aliases; what it opens is searched as it is.
                return None
            raise SinkError(f"{error}; a query is encoded for the collection that the alias names") from None

    def _missing(self) -> SinkError:
        missing, advice = "collection", "run the job first"
        if self._sink.in_memory:
            advice = "run the job in this process first, which its memory ends with"
        if self._sink.alias is not None:
            missing, advice = "alias", "run `fleetembed reindex run`, and do what it says is next"
        found = ask(self._sink, self._client.get_collections).collections
        names = sorted(collection.name for collection in found)
        others = f" (there are {', '.join(names[:10])})" if names else ""
        return SinkError(f"{missing} {self._sink.place} does not exist yet; {advice}{others}")
