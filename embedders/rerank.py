"""Rerankers: cross encoders that read query and document together and give the pair one score."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from time import perf_counter
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from embedders.catalog import ModelCard
from embedders.facade import READ_AHEAD, ModelFacade
from embedders.model_place import ModelPlace, Runtime
from embedders.network_model import NetworkModel
from embedders.pair_tokenization import encode_pairs
from embedders.text_model import PROBES

Pair = tuple[str, str]


class CrossEncoder(NetworkModel):
    """Tokenizer and graph of a reranker. ``max_length`` replaces the limit in the tokenizer's files.

    Raises ModelNotFoundError, ModelFilesError or DeviceError.
    """

    def __init__(self, card: ModelCard, place: ModelPlace, runtime: Runtime, *, max_length: int | None = None) -> None:
        super().__init__(card, place, runtime, max_length=max_length)

    def check(self) -> None:
        """Load tokenizer and graph."""
        self.text_model.check_output((2,), "a reranker takes scores of (pairs, 1)")

    def rehearse(self) -> None:
        """Score two pairs."""
        self.scores(list(zip(PROBES, reversed(PROBES), strict=True)))

    def scores(self, pairs: Sequence[Pair], *, max_rows: int | None = None) -> npt.NDArray[np.float32]:
        """Score pairs of query and document: the model's raw logits, (pairs,) float32, in order.

        Pairs of similar length share a model call, of at most ``max_rows``; identical ones are scored once. Raises
        ValueError naming the first pair that is not two str of valid Unicode.
        """
        self.load()
        started = perf_counter()
        tokens = encode_pairs(self.text_model.tokenizer, pairs)
        self.text_model.count(tokens, np.arange(len(pairs)), perf_counter() - started)
        scores = np.empty(len(pairs), dtype=np.float32)
        for batch in self.text_model.run(tokens, max_rows=max_rows):
            scores[batch.rows] = batch.values[:, 0]
        return scores

    def pair_token_count(self, pairs: Sequence[Pair]) -> int:
        """Count the tokens the model would get for these pairs, after truncation, special tokens included."""
        return int(encode_pairs(self.text_model.tokenizer, pairs).offsets[-1])


class TextCrossEncoder(ModelFacade):
    """A reranker by its name: a score a pair of query and document, higher where they fit better."""

    FAMILIES = ("rerank",)

    @classmethod
    def add_custom_model(cls, model: str, sources: Any, model_file: str | None = None, **facts: Any) -> None:
        """Add a reranker of one's own for this process, under a name of its own.

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
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        return self._score_lazily(_one_or_many(pairs), batch_size)

    def token_count(self, pairs: Pair | Iterable[Pair], batch_size: int = 1024) -> int:
        """Count the tokens the model would get for these pairs."""
        source = _one_or_many(pairs)
        return sum(
            int(self.model.pair_token_count(some)) for some in iter(lambda: list(islice(source, batch_size)), [])
        )

    def _score_lazily(self, pairs: Iterator[Pair], batch_size: int) -> Iterator[float]:
        while some := list(islice(pairs, max(batch_size, READ_AHEAD))):
            yield from self.model.scores(some, max_rows=batch_size).tolist()


def _one_or_many(pairs: Pair | Iterable[Pair]) -> Iterator[Pair]:
    single = isinstance(pairs, tuple) and len(pairs) == 2 and all(isinstance(text, str) for text in pairs)
    return iter([cast(Pair, pairs)] if single else cast(Iterable[Pair], pairs))
