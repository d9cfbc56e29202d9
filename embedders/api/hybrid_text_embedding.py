"""HybridTextEmbedding: the public class of models that give several vectors of each text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.api.facade import ModelFacade
from embedders.api.sparse_embedding import SparseEmbedding, from_arrow
from embedders.base import Texts, VectorSpec
from embedders.families import families_of_several
from embedders.prompts import Use
from embedders.texts import check_batch_size, take_lists

# Texts that are read and embedded together where token vectors are made, which take megabytes a text.
READ_AHEAD_OF_TOKENS = 128


@dataclass
class HybridEmbedding:
    """The vectors of one text; None is a vector that is not made.

    ``dense`` is (dim,), ``multivector`` (tokens, dim), both float32 or float16.
    """

    dense: npt.NDArray[np.floating] | None = None
    sparse: SparseEmbedding | None = None
    multivector: npt.NDArray[np.floating] | None = None


class HybridTextEmbedding(ModelFacade):
    """A model by its name whose graph gives several vectors of each text in one call, such as BAAI/bge-m3.

    Options beside the shared ones: ``outputs``, ``max_length``, ``dim`` and ``dtype`` of `embedders.bge_m3.BgeM3`.
    ``outputs`` lists the vectors that are made, of "dense", "sparse" and "multivector"; without it dense and sparse
    ones.
    """

    FAMILIES = families_of_several()

    @classmethod
    def add_custom_model(
        cls,
        model: str,
        sources: Any,
        dim: int = 1024,
        model_file: str | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        description: str = "",
        license: str = "",
        size_in_gb: float = 0.0,
        additional_files: Sequence[str] = (),
        matryoshka: Sequence[int] = (),
    ) -> None:
        """Add a user's model of BGE-M3's kind for this process, under a new name.

        ``dim`` counts the numbers of dense vectors. ``options`` are those in the table of `embedders.bge_m3`
        (``graph_outputs``, ``unweighted_tokens``). ``sources`` is a local folder, {"hf": repository}, or anything with
        attributes ``hf`` and ``url``. ``matryoshka`` lists sizes that dense vectors may be cut to. Raises ValueError
        for a name that is taken.
        """
        cls._add(
            "bge_m3",
            model,
            sources,
            dim=dim,
            model_file=model_file,
            options=dict(options or {}),
            description=description,
            license=license,
            size_in_gb=size_in_gb,
            additional_files=additional_files,
            matryoshka=tuple(matryoshka),
        )

    @property
    def specs(self) -> dict[str, VectorSpec]:
        """Kind, type and dimension of each vector that is made, by its kind."""
        return dict(self.model.specs)

    @property
    def fingerprints(self) -> dict[str, str]:
        """Hex sha256 over everything that changes a vector, of each vector by its kind."""
        return dict(self.model.fingerprints)

    def embed(
        self, documents: str | Iterable[str], batch_size: int = 256, parallel: int | None = None
    ) -> Iterator[HybridEmbedding]:
        """Yield the vectors of each document, in order, all from one model call.

        ``documents`` may be endless: at most max(batch_size, 1,024) are read ahead, on a GPU two times 4,096; 128, on a
        GPU two times 128, where token vectors are made. ``batch_size`` is the most documents one model call gets; the
        token budget usually stops it earlier, and on a GPU it alone does. With ``parallel``, as many of the
        ``device_ids`` work at once.
        """
        return self._embed_lazily(documents, batch_size, parallel, "passage")

    def passage_embed(
        self, texts: str | Iterable[str], batch_size: int = 256, parallel: int | None = None
    ) -> Iterator[HybridEmbedding]:
        """Same as ``embed``."""
        return self.embed(texts, batch_size, parallel)

    def query_embed(
        self, query: str | Iterable[str], batch_size: int = 256, parallel: int | None = None
    ) -> Iterator[HybridEmbedding]:
        """Yield the vectors of each query, with the query side of the model."""
        return self._embed_lazily(query, batch_size, parallel, "query")

    def embed_arrow(self, texts: Texts) -> pa.StructArray:
        """Embed documents as a column of structs with a field a vector, of the type in ``specs``, in order.

        Raises an error naming the first text that is not a str of valid Unicode.
        """
        return self.model.embed_arrow(texts)

    def embed_queries_arrow(self, texts: Texts) -> pa.StructArray:
        """Embed queries as such a column, with the query side of the model."""
        return self.model.embed_queries_arrow(texts)

    def token_count(self, texts: str | Iterable[str], batch_size: int = 1024) -> int:
        """Count the tokens the model would get for these texts."""
        return sum(int(self.model.token_count(some)) for some in take_lists(texts, batch_size))

    def _embed_lazily(
        self, texts: str | Iterable[str], batch_size: int, parallel: int | None, use: Use
    ) -> Iterator[HybridEmbedding]:
        check_batch_size(batch_size)
        token_vectors = "multivector" in self.model.kinds
        return self._spread(
            lambda: take_lists(texts, READ_AHEAD_OF_TOKENS if token_vectors else self._texts_ahead(batch_size)),
            lambda model, some: _by_text(model.embed_each(some, use=use, max_rows=self._most_rows(batch_size))),
            parallel,
        )


def _by_text(vectors: Mapping[str, Any]) -> Iterator[HybridEmbedding]:
    """Put the vectors of each text together; there is one kind at least."""
    rows = {kind: from_arrow(some) if kind == "sparse" else iter(some) for kind, some in vectors.items()}
    return (HybridEmbedding(**dict(zip(rows, row, strict=True))) for row in zip(*rows.values(), strict=True))
