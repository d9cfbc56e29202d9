"""Rerankers: cross encoders that read query and document together and give the pair one score."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np
import numpy.typing as npt

from embedders.catalog import ModelCard
from embedders.model_options import ModelFiles, Runtime
from embedders.network_model import NetworkModel
from embedders.pair_tokenization import encode_pairs
from embedders.text_model import PROBES

Pair = tuple[str, str]


class CrossEncoder(NetworkModel):
    """Tokenizer and graph of a reranker. ``max_length`` replaces the limit in the tokenizer's files.

    Raises ModelNotFoundError, ModelFilesError or DeviceError.
    """

    def __init__(self, card: ModelCard, files: ModelFiles, runtime: Runtime, *, max_length: int | None = None) -> None:
        super().__init__(card, files, runtime, max_length=max_length)

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
