"""Base of the public classes: each looks a model up by its name and hands everything on to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pyarrow as pa

from embedders.base import EmbedStats, Texts, VectorSpec
from embedders.catalog import add_card, custom_card, describe, find_card, list_cards
from embedders.factory import make_model, make_model_of
from embedders.families import Kind
from embedders.session_settings import Cuda, OnnxProvider

Item = TypeVar("Item")

# Texts that are read, tokenized and sorted together: so many that neighbours by length hardly differ.
READ_AHEAD = 1024


class ModelFacade:
    """A model by its name in the catalog, kept in ``model``.

    ``options`` are the fields of `embedders.model_options.ModelFiles` and `embedders.model_options.Runtime`
    (``specific_model_path``, ``local_files_only``, ``token_budget``, ``session_options``, ``provider_options``, ...),
    and the options of the model's family. Raises ModelNotFoundError (a ValueError) for a name that is in no catalog,
    ModelFilesError, DeviceError, and TypeError for an option that the model does not take.
    """

    FAMILIES: ClassVar[tuple[str, ...]]
    # The kind of vectors that the class gives, of those of a model that gives several; None: what the model gives.
    KIND: ClassVar[Kind | None] = None
    DEFAULT_MODEL: ClassVar[str | None] = None

    def __init__(
        self,
        model_name: str | None = None,
        cache_dir: str | Path | None = None,
        threads: int | None = None,
        providers: Sequence[OnnxProvider] | None = None,
        cuda: Cuda = "auto",
        device_ids: Sequence[int] | None = None,
        lazy_load: bool = False,
        **options: Any,
    ) -> None:
        name = model_name or self.DEFAULT_MODEL
        if name is None:
            raise TypeError(f"{type(self).__name__} needs a model_name; list_supported_models() tells which there are")
        self.card = find_card(name, among=self.FAMILIES)
        shared = {"cache_dir": cache_dir, "threads": threads, "providers": providers, "cuda": cuda}
        arguments = {**shared, "device_ids": device_ids, "lazy_load": lazy_load, **options}
        if self.KIND is None:
            self.model: Any = make_model(self.card, arguments)
        else:
            self.model = make_model_of(self.KIND, self.card, arguments)

    @property
    def model_name(self) -> str:
        """The model's name in the catalog."""
        return self.card.model

    @classmethod
    def list_supported_models(cls) -> list[dict[str, Any]]:
        """Facts of every model that this class takes, in the catalog's order, users' models last."""
        return [describe(card) for card in list_cards(*cls.FAMILIES)]

    @property
    def stats(self) -> EmbedStats:
        """Counters since the model was made."""
        stats: EmbedStats = self.model.stats
        return stats

    @property
    def providers(self) -> list[str]:
        """ONNX Runtime's execution providers in use, first choice first; none for a model without a network."""
        session = getattr(getattr(self.model, "text_model", self.model), "session", None)
        return [] if session is None else list(session.providers)

    def load(self) -> None:
        """Load everything now rather than at the first text."""
        self.model.load()

    @classmethod
    def _add(
        cls,
        family: str,
        model: str,
        sources: Any,
        *,
        size_in_gb: float = 0.0,
        additional_files: Sequence[str] | None = None,
        output_name: str | None = None,
        **facts: Any,
    ) -> None:
        """Add the card of a user's model; ``facts`` are named as by fastembed, or as ModelCard's fields."""
        output = 0 if output_name is None else output_name
        files = tuple(additional_files or ())
        add_card(
            custom_card(
                family, model=model, sources=sources, size_gb=size_in_gb, additional_files=files, output=output, **facts
            )
        )


class EmbeddingFacade(ModelFacade):
    """A model that embeds."""

    @property
    def spec(self) -> VectorSpec:
        """Kind, type and dimension of the column."""
        spec: VectorSpec = self.model.spec
        return spec

    @property
    def fingerprint(self) -> str:
        """Hex sha256 over everything that changes a vector."""
        return str(self.model.fingerprint)

    def embed_arrow(self, texts: Texts) -> pa.Array:
        """Embed documents as a column of ``spec.arrow_type``, one entry a text, in order.

        Raises an error naming the first text that is not a str of valid Unicode.
        """
        return self.model.embed_arrow(texts)

    def embed_queries_arrow(self, texts: Texts) -> pa.Array:
        """Embed queries as a column of ``spec.arrow_type``, with the query side of the model."""
        return self.model.embed_queries_arrow(texts)


class SizedFacade(EmbeddingFacade):
    """A model whose vectors, or token vectors, all have one size."""

    @property
    def dim(self) -> int:
        """Numbers in a vector: the catalog's, or what the graph gives for files at ``specific_model_path``."""
        return int(self.model.dim)

    @property
    def embedding_size(self) -> int:
        """Same as ``dim``."""
        return self.dim

    @classmethod
    def get_embedding_size(cls, model_name: str) -> int:
        """Numbers in a vector of a catalog model; raises ModelNotFoundError."""
        return int(find_card(model_name, among=cls.FAMILIES).dim or 0)
