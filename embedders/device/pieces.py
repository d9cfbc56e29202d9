"""Texts of one call embedded in pieces, so that one is tokenized while another is in the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedders.ordered_map import ordered_map
from embedders.token_vectors import TokenVectors
from embedders.tokenization import refuse_invalid

if TYPE_CHECKING:
    from embedders.text_model import TextModel

VectorsT = TypeVar("VectorsT", bound="npt.NDArray[np.floating] | pa.Array | TokenVectors")

# Batches that a piece fills, about, and the first one, which nothing runs beside. Large pieces have little padding.
BATCHES_A_PIECE = 8
FIRST_BATCHES = 1
MOST_DOUBLINGS = 4
SMALLEST_PIECE = 16
FEW_TEXTS = 256
CHARACTERS_A_TOKEN = 4
# One that is tokenized, one that waits for a session, and two whose batches run, so that sessions share the last ones.
AT_ONCE = 4


def embed_in_pieces(model: TextModel, texts: list[str], embed: Callable[[list[str]], VectorsT]) -> VectorsT:
    """Embed texts by a function of some of them, in pieces where the model prepares ahead; vectors in their order.

    A piece has texts of similar length, by their characters, so that batches have little padding. Raises what
    ``embed`` raises; a text that cannot be embedded is named by its position among all.
    """
    pieces = _pieces(model, texts)
    if len(pieces) < 2:
        return embed(texts)
    some = ([texts[row] for row in piece] for piece in pieces)
    try:
        with closing(ordered_map(embed, some, threads=AT_ONCE, ahead=1)) as parts:
            vectors: VectorsT = _in_order(parts, pieces)
            return vectors
    except (TypeError, ValueError):
        refuse_invalid(texts)
        raise


def _pieces(model: TextModel, texts: list[str]) -> Sequence[npt.NDArray[np.intp]]:
    """Positions of the texts of each piece, longest texts first; one piece where nothing is to be gained."""
    every = [np.arange(len(texts))]
    # What is no text is refused where all are seen.
    if len(texts) < FEW_TEXTS or not model.runner.settings.ahead or not {*map(type, texts)} <= {str}:
        return every
    longest = model.tokenizer.max_length
    tokens = np.minimum(np.fromiter(map(len, texts), np.int64, len(texts)) // CHARACTERS_A_TOKEN + 2, longest)
    order = np.argsort(-tokens, kind="stable")
    batch = model.runner.budget.at(longest)
    # Each piece is twice as large as the one before it, up to the largest.
    ends = np.cumsum(np.minimum(FIRST_BATCHES * 2.0 ** np.arange(MOST_DOUBLINGS), BATCHES_A_PIECE)) * batch
    every_next = np.arange(ends[-1], float(tokens.sum()), BATCHES_A_PIECE * batch)[1:]
    cuts = np.searchsorted(np.cumsum(tokens[order]), np.concatenate([ends, every_next]))
    kept: list[int] = []
    for cut in cuts.tolist():
        if cut - (kept[-1] if kept else 0) >= SMALLEST_PIECE and len(texts) - cut >= SMALLEST_PIECE:
            kept.append(cut)
    return np.split(order, kept)


def _in_order(parts: Iterator[Any], pieces: Sequence[npt.NDArray[np.intp]]) -> Any:
    """Put the vectors of pieces where their texts were; matrices as they come, while later pieces are embedded."""
    first = next(parts)
    if isinstance(first, np.ndarray):
        matrix = np.empty((sum(map(len, pieces)), *first.shape[1:]), first.dtype)
        for rows, part in zip(pieces, chain([first], parts), strict=True):
            matrix[rows] = part
        return matrix
    found = [first, *parts]
    back = np.argsort(np.concatenate(pieces))
    if isinstance(first, TokenVectors):
        lengths = np.concatenate([np.diff(part.offsets) for part in found])
        vectors = np.concatenate([part.vectors for part in found])
        return TokenVectors(vectors, np.concatenate(([0], np.cumsum(lengths)))).take(back)
    return pa.concat_arrays(found).take(pa.array(back))
