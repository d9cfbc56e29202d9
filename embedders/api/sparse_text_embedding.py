"""SparseTextEmbedding: the public class of every sparse model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from embedders.api.facade import READ_AHEAD, EmbeddingFacade
from embedders.api.fastembed_arguments import warn_of_ignored
from embedders.api.sparse_embedding import SparseEmbedding, SparseMatrix, from_arrow
from embedders.families import custom_families, families_of
from embedders.texts import take_lists, text_list


class SparseTextEmbedding(EmbeddingFacade):
    """A sparse model by its name: weights of some terms a text.

    Options beside the shared ones are those of the model's family, such as `embedders.sparse.bm25.Bm25` or
    `embedders.sparse.minicoil.MiniCoil`; `embedders.families.FAMILIES` tells the class of each.
    """

    # In the order of fastembed's list.
    FAMILIES = families_of("sparse", first=("splade", "bm42", "bm25", "minicoil"))
    KIND = "sparse"

    @classmethod
    def add_custom_model(
        cls,
        model: str,
        sources: Any,
        family: str = "splade",
        model_file: str | None = None,
        requires_idf: bool | None = None,
        options: Mapping[str, Any] | None = None,
        **facts: Any,
    ) -> None:
        """Add a user's model for this process; ``family`` turns what its graph gives into weights.

        The graph gives logits over the vocabulary (splade, neural_sparse), attention (bm42) or token vectors
        (minicoil). ``sources`` is a local folder, {"hf": repository}, or anything with attributes ``hf`` and ``url``.
        ``facts`` are ``description``, ``license``, ``size_in_gb``, ``additional_files``, ``output_name`` (the graph's
        first output unless given). ``requires_idf`` asks the store for idf, as BM42 and miniCOIL need. Raises
        ValueError for a name that is taken or an unknown family.
        """
        known_families = custom_families("sparse")
        if family not in known_families:
            *others, last = known_families
            raise ValueError(f"family must be {', '.join(others)} or {last}, got {family!r}")
        idf = known_families[family].requires_idf if requires_idf is None else requires_idf
        known: dict[str, Any] = {"model_file": model_file, "requires_idf": idf, "options": dict(options or {})}
        cls._add(family, model, sources, **known, **facts)

    def embed(
        self, documents: str | Iterable[str], batch_size: int = READ_AHEAD, parallel: int | None = None, **ignored: Any
    ) -> Iterator[SparseEmbedding]:
        """Embed documents, or one, in order; reads ``batch_size`` of them ahead, on a GPU two times as many.

        With ``parallel``, as many of the ``device_ids`` work at once; it starts no processes. Other keywords are
        ignored with a warning. Raises, when first iterated, ValueError for a ``batch_size`` below 1.
        """
        warn_of_ignored("embed", ignored)
        return self._spread(
            lambda: take_lists(documents, batch_size),
            lambda model, some: from_arrow(model.embed_arrow(some)),
            parallel,
        )

    def passage_embed(
        self, texts: str | Iterable[str], batch_size: int = READ_AHEAD, parallel: int | None = None, **ignored: Any
    ) -> Iterator[SparseEmbedding]:
        """The same as `embed`."""
        warn_of_ignored("passage_embed", ignored)
        return self.embed(texts, batch_size, parallel)

    def query_embed(
        self, query: str | Iterable[str], batch_size: int = READ_AHEAD, parallel: int | None = None, **ignored: Any
    ) -> Iterator[SparseEmbedding]:
        """Embed queries, or one, with the query side of the model."""
        warn_of_ignored("query_embed", ignored)
        return self._spread(
            lambda: take_lists(query, batch_size),
            lambda model, some: from_arrow(model.embed_queries_arrow(some)),
            parallel,
            # Of some families, whose tables weigh queries.
            runs_graph=False,
        )

    def embed_csr(self, texts: Sequence[str]) -> SparseMatrix:
        """Embed documents as one sparse matrix, a row a text: the arrays ``data``, ``indices`` and ``indptr``.

        The counterpart of ``embed_array`` of dense models. Raises as ``embed_arrow`` does.
        """
        return SparseMatrix.from_arrow(self.model.embed_arrow(text_list(texts)))

    def token_count(self, texts: str | Iterable[str], batch_size: int = 1024, **ignored: Any) -> int:
        """Count the tokens the model would get for these texts."""
        warn_of_ignored("token_count", ignored)
        return sum(int(self.model.token_count(some)) for some in take_lists(texts, batch_size))
