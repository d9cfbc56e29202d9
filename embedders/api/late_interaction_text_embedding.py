"""LateInteractionTextEmbedding: the public class of every late interaction text model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from embedders.api.facade import READ_AHEAD, SizedFacade
from embedders.api.fastembed_arguments import warn_of_ignored
from embedders.families import families_of
from embedders.prompts import Use
from embedders.texts import check_batch_size, take_lists, text_list

if TYPE_CHECKING:
    from embedders.token_vectors import TokenVectors

Matrix = npt.NDArray[np.floating]


class LateInteractionTextEmbedding(SizedFacade):
    """A late interaction model by its name: a (tokens, dim) matrix a text.

    Options beside the shared ones: ``max_length`` and ``dtype`` of `embedders.late_interaction.LateInteraction`.
    """

    FAMILIES = families_of("multivector")
    KIND = "multivector"

    @classmethod
    def add_custom_model(
        cls,
        model: str,
        sources: Any,
        dim: int,
        model_file: str | None = None,
        options: Mapping[str, Any] | None = None,
        **facts: Any,
    ) -> None:
        """Add a user's model for this process, under a new name.

        ``options`` are those in the table of `embedders.late_interaction` (``query_marker``, ``query_length``, ...).
        ``sources`` is a local folder, {"hf": repository}, or anything with attributes ``hf`` and ``url``. ``facts`` are
        ``description``, ``license``, ``size_in_gb``, ``additional_files``, ``output_name`` (the graph's first output
        unless given). Raises ValueError for a name that is taken.
        """
        options = dict(options or {})
        cls._add("late_interaction", model, sources, dim=dim, model_file=model_file, options=options, **facts)

    def embed(
        self, documents: str | Iterable[str], batch_size: int = 256, parallel: int | None = None, **ignored: Any
    ) -> Iterator[Matrix]:
        """Yield a (tokens, dim) matrix a document, in order.

        ``documents`` may be endless: at most max(batch_size, 1,024) are read ahead, on a GPU two times as many.
        ``batch_size`` is the most documents one model call gets; the token budget usually stops it earlier, and on a
        GPU it alone does. With ``parallel``, as many of the ``device_ids`` work at once; it starts no processes. Other
        keywords are ignored with a warning.
        """
        warn_of_ignored("embed", ignored)
        return self._embed_lazily(documents, batch_size, parallel, "passage")

    def passage_embed(
        self, texts: str | Iterable[str], batch_size: int = 256, parallel: int | None = None, **ignored: Any
    ) -> Iterator[Matrix]:
        """Same as ``embed``."""
        warn_of_ignored("passage_embed", ignored)
        return self.embed(texts, batch_size, parallel)

    def query_embed(
        self, query: str | Iterable[str], batch_size: int = 256, parallel: int | None = None, **ignored: Any
    ) -> Iterator[Matrix]:
        """Yield a (tokens, dim) matrix a query, with the query side of the model; queries share model calls."""
        warn_of_ignored("query_embed", ignored)
        return self._embed_lazily(query, batch_size, parallel, "query")

    def embed_tokens(self, texts: Sequence[str]) -> TokenVectors:
        """Embed documents as one matrix of token vectors with offsets."""
        vectors: TokenVectors = self.model.embed_tokens(text_list(texts))
        return vectors

    def token_count(
        self,
        texts: str | Iterable[str],
        batch_size: int = 1024,
        is_doc: bool = True,
        include_extension: bool = False,
        **ignored: Any,
    ) -> int:
        """Count the texts' tokens; ``include_extension`` also counts markers and the mask tokens of queries."""
        warn_of_ignored("token_count", ignored)
        return sum(
            int(self.model.token_count(some, is_doc=is_doc, include_extension=include_extension))
            for some in take_lists(texts, batch_size)
        )

    def _embed_lazily(
        self, texts: str | Iterable[str], batch_size: int, parallel: int | None, use: Use
    ) -> Iterator[Matrix]:
        check_batch_size(batch_size)
        return self._spread(
            # Also on a GPU: token vectors take megabytes a text.
            lambda: take_lists(texts, max(batch_size, READ_AHEAD)),
            lambda model, some: model.embed_tokens(some, use=use, max_rows=self._most_rows(batch_size)),
            parallel,
        )
