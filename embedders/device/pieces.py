"""Texts of one call embedded in pieces, so that one is tokenized while another is in the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
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
    order = np.concatenate(pieces)
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    some = ([texts[row] for row in piece] for piece in pieces)
    try:
        with closing(ordered_map(embed, some, threads=AT_ONCE, ahead=1)) as parts:
            vectors: VectorsT = _taken(list(parts), back)
            return vectors
    except (TypeError, ValueError):
        refuse_invalid(texts)
        raise


def _pieces(model: TextModel, texts: list[str]) -> Sequence[npt.NDArray[np.intp]]:
    """Positions of the texts of each piece, longest texts first; one piece where nothing is to be gained."""
    every = [np.arange(len(texts))]
    # What is no text is refused where all are seen.
    if len(texts) < FEW_TEXTS or not all(isinstance(text, str) for text in texts):
        return every
    if not model.runner.settings.ahead:
        return every
    longest = model.tokenizer.max_length
    tokens = np.minimum(np.array([len(text) for text in texts]) // CHARACTERS_A_TOKEN + 2, longest)
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


def _taken(parts: list[Any], rows: npt.NDArray[np.intp]) -> Any:
    """Join vectors of pieces, and take them in an order."""
    if isinstance(parts[0], TokenVectors):
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        vectors = np.concatenate([part.vectors for part in parts])
        return TokenVectors(vectors, np.concatenate(([0], np.cumsum(lengths)))).take(rows)
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)[rows]
    return pa.concat_arrays(parts).take(pa.array(rows))
