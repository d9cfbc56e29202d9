"""SparseTextEmbedding: one door to every sparse model of the catalog."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import pyarrow as pa

from embedders.base import EmbedStats, Texts, VectorSpec
from embedders.batching import take_lists
from embedders.catalog import describe, find_card, load_cards
from embedders.sparse.bm25 import Bm25
from embedders.sparse.family import ModelPlace, Runtime, SparseFamily, SparseModel
from embedders.sparse.sparse_embedding import SparseEmbedding, from_arrow

_FAMILIES: dict[str, SparseFamily] = {"bm25": Bm25}


class SparseTextEmbedding:
    """A sparse model by its name in the catalog; meets `embedders.base.Embedder`.

    ``threads``, ``providers``, ``cuda``, ``device_ids`` and ``lazy_load`` are for families that run a network.
    ``options`` are the family's own, see its class (`embedders.sparse.bm25.Bm25`). Raises ModelNotFoundError (a
    ValueError) for a name that is in no catalog, and TypeError for an option that the family lacks.
    """

    def __init__(
        self,
        model_name: str,
        cache_dir: str | Path | None = None,
        threads: int | None = None,
        providers: Sequence[str | tuple[str, dict[str, Any]]] | None = None,
        cuda: bool | str = "auto",
        device_ids: Sequence[int] | None = None,
        lazy_load: bool = False,
        *,
        specific_model_path: str | Path | None = None,
        local_files_only: bool = False,
        **options: Any,
    ):
        card = find_card(model_name, among=tuple(_FAMILIES))
        family = _FAMILIES[card.family]
        _check_options(card.model, family, options)
        place = ModelPlace(cache_dir, specific_model_path, local_files_only)
        runtime = Runtime(threads, providers, cuda, device_ids, lazy_load)
        self.model_name = card.model
        self.model: SparseModel = family(card, place, runtime, **options)

    @classmethod
    def list_supported_models(cls) -> list[dict[str, Any]]:
        """Facts of each sparse model."""
        return [describe(card) for family in _FAMILIES for card in load_cards(family)]

    @property
    def spec(self) -> VectorSpec:
        """Kind and type of the column."""
        return self.model.spec

    @property
    def fingerprint(self) -> str:
        """Hex sha256 over everything that changes a vector."""
        return self.model.fingerprint

    @property
    def stats(self) -> EmbedStats:
        """Counters since the embedder was made."""
        return self.model.stats

    def embed(self, documents: str | Iterable[str], batch_size: int = 1024) -> Iterator[SparseEmbedding]:
        """Embed documents, or one, in order; reads ``batch_size`` of them ahead.

        Raises, when first iterated, ValueError for a ``batch_size`` below 1.
        """
        for batch in take_lists(documents, batch_size):
            yield from from_arrow(self.embed_arrow(batch))

    def passage_embed(self, texts: str | Iterable[str], batch_size: int = 1024) -> Iterator[SparseEmbedding]:
        """The same as `embed`."""
        return self.embed(texts, batch_size)

    def query_embed(self, query: str | Iterable[str], batch_size: int = 1024) -> Iterator[SparseEmbedding]:
        """Embed queries, or one, with the query side of the model."""
        for batch in take_lists(query, batch_size):
            yield from from_arrow(self.embed_queries_arrow(batch))

    def embed_arrow(self, texts: Texts) -> pa.Array:
        """Embed documents as a column of ``spec.arrow_type``."""
        return self.model.embed_arrow(texts)

    def embed_queries_arrow(self, texts: Texts) -> pa.Array:
        """Embed queries as a column of ``spec.arrow_type``."""
        return self.model.embed_queries_arrow(texts)

    def token_count(self, texts: str | Iterable[str], batch_size: int = 1024) -> int:
        """Sum of the texts' tokens."""
        return sum(self.model.token_count(batch) for batch in take_lists(texts, batch_size))


def _check_options(model: str, family: SparseFamily, options: dict[str, Any]) -> None:
    parameters = signature(family).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.kind is Parameter.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise TypeError(f"model {model!r} takes no option {option!r}; its options are {', '.join(known)}")
