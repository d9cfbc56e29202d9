"""TextEmbedding: one door to every dense text model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from embedders.batching import take_lists
from embedders.catalog import find_card
from embedders.catalog.custom import pooling_name
from embedders.dense import PASSAGE_TASK, QUERY_TASK
from embedders.facade import READ_AHEAD, EmbeddingFacade
from embedders.prompts import Use

Vector = npt.NDArray[np.floating]


class TextEmbedding(EmbeddingFacade):
    """A dense text model by its name: one vector a text.

    Options beside the shared ones: ``max_length``, ``dim``, ``prompts``, ``task_id`` and ``dtype`` of
    `embedders.dense.DenseModel`. Prompts are none unless asked for: ``prompts="auto"`` takes those of the model's card.
    """

    FAMILIES = ("dense", "static")
    DEFAULT_MODEL = "BAAI/bge-small-en-v1.5"

    @property
    def dim(self) -> int:
        """Numbers in a vector: the catalog's, or the graph's own for files given by ``specific_model_path``."""
        return int(self.model.dim)

    @property
    def embedding_size(self) -> int:
        """Same as ``dim``."""
        return self.dim

    @classmethod
    def get_embedding_size(cls, model_name: str) -> int:
        """Numbers in a vector of a catalog model; raises ModelNotFoundError."""
        return int(find_card(model_name, among=cls.FAMILIES).dim or 0)

    @classmethod
    def add_custom_model(
        cls,
        model: str,
        pooling: Any,
        normalization: bool,
        sources: Any,
        dim: int,
        model_file: str = "onnx/model.onnx",
        description: str = "",
        license: str = "",
        size_in_gb: float = 0.0,
        additional_files: Sequence[str] | None = None,
        output_name: str | None = None,
        **facts: Any,
    ) -> None:
        """Add a model of one's own for this process, under a name of its own.

        ``pooling`` is "cls", "mean", "last_token" or "none" (fastembed's PoolingType works too), ``sources`` a local
        folder, {"hf": repository}, or anything with attributes ``hf`` and ``url``. ``facts`` are further fields of
        ModelCard, such as ``prompts`` and ``matryoshka``. Pooling, dimension and output are checked against the graph
        when the model is loaded. Raises ValueError for a name that is taken or a value that cannot be.
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
            size_gb=size_in_gb,
            additional_files=tuple(additional_files or ()),
            output=0 if output_name is None else output_name,
            **facts,
        )

    def embed(
        self, documents: str | Iterable[str], batch_size: int = 256, *, task_id: int | str | None = None
    ) -> Iterator[Vector]:
        """Yield a (dim,) vector a document, in order.

        ``documents`` may be endless: at most max(batch_size, 1,024) are read ahead. ``batch_size`` is the most
        documents one model call gets; the token budget usually stops it earlier.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        return self._embed_lazily(documents, batch_size, "passage", task_id)

    def query_embed(self, query: str | Iterable[str], batch_size: int = 256) -> Iterator[Vector]:
        """Yield a vector a query; with the query's prompt, and of a model with tasks the one for queries."""
        return self._embed_lazily(query, batch_size, "query", self._task(QUERY_TASK))

    def passage_embed(self, texts: str | Iterable[str], batch_size: int = 256) -> Iterator[Vector]:
        """Yield a vector a document; as ``embed``, but of a model with tasks always the one for passages."""
        return self._embed_lazily(texts, batch_size, "passage", self._task(PASSAGE_TASK))

    def embed_array(self, texts: Sequence[str]) -> npt.NDArray[np.floating]:
        """Embed documents as one matrix (texts, dim), in order."""
        matrix: npt.NDArray[np.floating] = self.model.embed_array(list(texts))
        return matrix

    def _task(self, name: str) -> str | None:
        return name if self.card.options.get("tasks") else None

    def _embed_lazily(
        self, documents: str | Iterable[str], batch_size: int, use: Use, task_id: int | str | None
    ) -> Iterator[Vector]:
        task = {} if task_id is None else {"task_id": task_id}
        for some in take_lists(documents, max(batch_size, READ_AHEAD)):
            yield from self.model.embed_array(some, use=use, max_rows=batch_size, **task)
