"""`TextCrossEncoder`: rerankers by their names, with fastembed's arguments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

from more_itertools import chunked

from embedders.api.facade import READ_AHEAD, ModelFacade
from embedders.families import families_of
from embedders.texts import check_batch_size

if TYPE_CHECKING:
    from embedders.rerank import Pair


class TextCrossEncoder(ModelFacade):
    """A reranker by its name: a score a pair of query and document, higher where they fit better."""

    FAMILIES = families_of("scores")

    @classmethod
    def add_custom_model(cls, model: str, sources: Any, model_file: str | None = None, **facts: Any) -> None:
        """Add a user's reranker for this process, under a new name.

        ``sources`` is a local folder, {"hf": repository}, or anything with attributes ``hf`` and ``url``. ``facts`` are
        ``description``, ``license``, ``size_in_gb``, ``additional_files``, ``output_name`` (the graph's first output
        unless given). Raises ValueError for a name that is taken.
        """
        cls._add("rerank", model, sources, model_file=model_file, **facts)

    def rerank(self, query: str, documents: Iterable[str], batch_size: int = 64) -> Iterator[float]:
        """Yield the score of each document for a query, in the documents' order.

        ``documents`` may be endless: at most max(batch_size, 1,024) are read ahead.
        """
        many = [documents] if isinstance(documents, str) else documents
        return self.rerank_pairs(((query, document) for document in many), batch_size)

    def rerank_pairs(self, pairs: Pair | Iterable[Pair], batch_size: int = 64) -> Iterator[float]:
        """Yield the score of each (query, document) pair, or of one, in order."""
        check_batch_size(batch_size)
        return self._score_lazily(_one_or_many(pairs), batch_size)

    def token_count(self, pairs: Pair | Iterable[Pair], batch_size: int = 1024) -> int:
        """Count the tokens the model would get for these pairs."""
        return sum(int(self.model.pair_token_count(some)) for some in chunked(_one_or_many(pairs), batch_size))

    def _score_lazily(self, pairs: Iterator[Pair], batch_size: int) -> Iterator[float]:
        for some in chunked(pairs, max(batch_size, READ_AHEAD)):
            yield from self.model.scores(some, max_rows=batch_size).tolist()


def _one_or_many(pairs: Pair | Iterable[Pair]) -> Iterator[Pair]:
    single = isinstance(pairs, tuple) and len(pairs) == 2 and all(isinstance(text, str) for text in pairs)
    return iter([cast("Pair", pairs)] if single else cast("Iterable[Pair]", pairs))
