"""`TextCrossEncoder`: rerankers by their names, with fastembed's arguments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from more_itertools import chunked

from embedders.api.facade import ModelFacade
from embedders.api.fastembed_arguments import warn_of_ignored
from embedders.families import families_of
from embedders.texts import check_batch_size

if TYPE_CHECKING:
    from embedders.rerank import Pair


class TextCrossEncoder(ModelFacade):
    """A reranker by its name: a score a pair of query and document, higher where they fit better."""

    FAMILIES = families_of("scores")

    @classmethod
    def add_custom_model(
        cls,
        model: str,
        sources: Any,
        model_file: str | None = None,
        description: str = "",
        license: str = "",
        size_in_gb: float = 0.0,
        additional_files: Sequence[str] | None = None,
        **facts: Any,
    ) -> None:
        """Add a user's reranker for this process, under a name that no other reranker has.

        ``sources`` is a local folder, {"hf": repository}, or anything with attributes ``hf`` and ``url``. ``facts`` are
        ``output_name`` (the graph's first output unless given) and further fields of ModelCard. Raises ValueError for
        a name that is taken.
        """
        cls._add(
            "rerank",
            model,
            sources,
            model_file=model_file,
            description=description,
            license=license,
            size_in_gb=size_in_gb,
            additional_files=additional_files,
            **facts,
        )

    def rerank(
        self, query: str, documents: Iterable[str], batch_size: int = 64, parallel: int | None = None, **ignored: Any
    ) -> Iterator[float]:
        """Yield the score of each document for a query, in the documents' order: all of them, not sorted.

        ``documents`` may be endless: at most max(batch_size, 1,024) are read ahead, on a GPU two times 4,096.
        ``batch_size`` is the most documents one model call gets; on a GPU the token budget alone decides. With
        ``parallel``, as many of the ``device_ids`` work at once; it starts no processes. Other keywords are ignored
        with a warning.
        """
        warn_of_ignored("rerank", ignored, "; every document gets a score, in the documents' order")
        many = [documents] if isinstance(documents, str) else documents
        return self.rerank_pairs(((query, document) for document in many), batch_size, parallel)

    def rerank_pairs(
        self, pairs: Pair | Iterable[Pair], batch_size: int = 64, parallel: int | None = None, **ignored: Any
    ) -> Iterator[float]:
        """Yield the score of each (query, document) pair, or of one, in order; ``parallel`` as for ``rerank``."""
        warn_of_ignored("rerank_pairs", ignored)
        check_batch_size(batch_size)
        return self._spread(
            lambda: chunked(_one_or_many(pairs), self._texts_ahead(batch_size)),
            lambda model, some: model.scores(some, max_rows=self._most_rows(batch_size)).tolist(),
            parallel,
        )

    def token_count(self, pairs: Pair | Iterable[Pair], batch_size: int = 1024, **ignored: Any) -> int:
        """Count the tokens the model would get for these pairs."""
        warn_of_ignored("token_count", ignored)
        return sum(int(self.model.pair_token_count(some)) for some in chunked(_one_or_many(pairs), batch_size))


def _one_or_many(pairs: Pair | Iterable[Pair]) -> Iterator[Pair]:
    single = isinstance(pairs, tuple) and len(pairs) == 2 and all(isinstance(text, str) for text in pairs)
    return iter([cast("Pair", pairs)] if single else cast("Iterable[Pair]", pairs))
