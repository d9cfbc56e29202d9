"""Sparse vectors from logits over the vocabulary, for SPLADE and OpenSearch's neural sparse models."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.arrow import SPARSE_TYPE, sparse_array
from embedders.device.pieces import embed_in_pieces
from embedders.device.reductions import GreatestLogits
from embedders.errors import ModelFilesError
from embedders.text_model import TextModel

Weigh = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
NO_TOKENS: npt.NDArray[np.int64] = np.zeros(0, np.int64)


def check_logits(model: TextModel, family: str) -> None:
    """Check that the graph gives a logit for each entry of the tokenizer's vocabulary; raises ModelFilesError."""
    model.check_output((3,), f"{family} takes logits of (texts, tokens, vocabulary)")
    width, size = model.probe().values.shape[2], model.tokenizer.vocabulary_size
    if width < size:
        raise ModelFilesError(
            f"{model.card.model}: the graph gives {width} logits a token, and the tokenizer has {size} entries: they "
            "do not belong together"
        )


def embed_by_vocabulary(
    model: TextModel, texts: list[str], weigh: Weigh, zeroed: npt.NDArray[np.int64] = NO_TOKENS
) -> pa.Array:
    """Embed texts as a column of SPARSE_TYPE, indices (token ids) ascending.

    ``weigh`` turns greatest logits into weights, perhaps in place; ids in ``zeroed`` get none.
    """
    return embed_in_pieces(model, texts, lambda some: _embed(model, some, weigh, zeroed))


def _embed(model: TextModel, texts: list[str], weigh: Weigh, zeroed: npt.NDArray[np.int64]) -> pa.Array:
    tokens, distinct = model.tokenize(texts)
    entries: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.int64], npt.NDArray[np.float32]]] = []
    for batch in model.run(tokens, reduction=GreatestLogits()):
        started = perf_counter()
        greatest = batch.values
        greatest[:, zeroed] = 0
        rows, indices = np.nonzero(greatest)
        entries.append((batch.rows[rows], indices, weigh(greatest[rows, indices])))
        model.count_model_seconds(perf_counter() - started)
    return distinct.for_all(_in_order(entries, len(tokens)))


def _in_order(
    parts: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.int64], npt.NDArray[np.float32]]], size: int
) -> pa.Array:
    """Put batches' entries (row, index, weight) into the order of the rows; a row's entries come together."""
    if not parts:
        return pa.array([], type=SPARSE_TYPE)
    rows, indices, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(rows, kind="stable")
    offsets = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=size))))
    return sparse_array(offsets, indices[order], weights[order])
