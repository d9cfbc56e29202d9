"""TextEmbedding: the public class of every dense text model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from embedders.api.facade import SizedFacade
from embedders.api.fastembed_arguments import warn_of_ignored
from embedders.catalog.custom import pooling_name
from embedders.families import families_of
from embedders.prompts import RETRIEVAL_TASKS, Use
from embedders.texts import check_batch_size, take_lists, text_list

Vector = npt.NDArray[np.floating]


class TextEmbedding(SizedFacade):
    """A dense text model by its name: one vector a text.

    Options beside the shared ones: ``max_length``, ``dim``, ``prompts``, ``task_id`` and ``dtype`` of
    `embedders.dense.DenseModel`. No prompts are used unless asked for: ``prompts="auto"`` takes those of the model's
    card. A model that gives several kinds of vectors gives its dense ones; `HybridTextEmbedding` gives all.
    """

    FAMILIES = families_of("dense")
    KIND = "dense"
    DEFAULT_MODEL = "BAAI/bge-small-en-v1.5"

    @classmethod
    def add_custom_model(
        cls,
        model: str,
        pooling: Any,
        normalization: bool,
        sources: Any,
        dim: int,
        model_file: str | None = None,
        description: str = "",
        license: str = "",
        size_in_gb: float = 0.0,
        additional_files: Sequence[str] | None = None,
        output_name: str | None = None,
        **facts: Any,
    ) -> None:
        """Add a user's model for this process, under a new name.

        ``pooling`` is "cls", "mean", "last_token" or "none" (fastembed's PoolingType works too). ``sources`` is a local
        folder, {"hf": repository}, or anything with attributes ``hf`` and ``url``. ``output_name`` is the graph's first
        output unless given. ``facts`` are further fields of ModelCard, such as ``prompts`` and ``matryoshka``. Pooling,
        dimension and output are checked when the model is loaded. Raises ValueError for a name that is taken or an
        invalid value.
        """
        cls._add(
            "dense",
            model,
            sources,
            pooling=pooling_name(pooling),
            normalize=normalization,
            dim=dim,
            model_file=model_file,
            description=description,
            license=license,
            size_in_gb=size_in_gb,
            additional_files=additional_files,
            output_name=output_name,
            **facts,
        )

    def embed(
        self,
        documents: str | Iterable[str],
        batch_size: int = 256,
        parallel: int | None = None,
        *,
        task_id: int | str | None = None,
        **ignored: Any,
    ) -> Iterator[Vector]:
        """Yield a (dim,) vector a document, in order.

        ``documents`` may be endless: at most max(batch_size, 1,024) are read ahead, on a GPU two times 4,096.
        ``batch_size`` is the most documents one model call gets; the token budget usually stops it earlier, and on a
        GPU it alone does. With ``parallel``, as many of the ``device_ids`` work at once; it starts no processes. Other
        keywords are ignored with a warning.
        """
        warn_of_ignored("embed", ignored)
        return self._embed_lazily(documents, batch_size, parallel, "passage", task_id)

    def query_embed(
        self, query: str | Iterable[str], batch_size: int = 256, parallel: int | None = None, **ignored: Any
    ) -> Iterator[Vector]:
        """Yield a vector a query, with the query's prompt; a model with tasks does the one for queries."""
        warn_of_ignored("query_embed", ignored)
        return self._embed_lazily(query, batch_size, parallel, "query", self._task("query"))

    def passage_embed(
        self, texts: str | Iterable[str], batch_size: int = 256, parallel: int | None = None, **ignored: Any
    ) -> Iterator[Vector]:
        """Yield a vector a document, as ``embed`` does; a model with tasks always does the one for passages."""
        warn_of_ignored("passage_embed", ignored)
        return self._embed_lazily(texts, batch_size, parallel, "passage", self._task("passage"))

    def embed_array(self, texts: Sequence[str]) -> npt.NDArray[np.floating]:
        """Embed documents as one matrix (texts, dim), in order."""
        matrix: npt.NDArray[np.floating] = self.model.embed_array(text_list(texts))
        return matrix

    def token_count(self, texts: str | Iterable[str], batch_size: int = 1024, **ignored: Any) -> int:
        """Count the tokens the model would get for these texts."""
        warn_of_ignored("token_count", ignored)
        return sum(int(self.model.token_count(some)) for some in take_lists(texts, batch_size))

    def _task(self, use: Use) -> str | None:
        return RETRIEVAL_TASKS[use] if self.card.options.get("tasks") else None

    def _embed_lazily(
        self, documents: str | Iterable[str], batch_size: int, parallel: int | None, use: Use, task_id: int | str | None
    ) -> Iterator[Vector]:
        check_batch_size(batch_size)
        task = {} if task_id is None else {"task_id": task_id}
        return self._spread(
            lambda: take_lists(documents, self._texts_ahead(batch_size)),
            lambda model, some: model.embed_array(some, use=use, max_rows=self._most_rows(batch_size), **task),
            parallel,
        )
