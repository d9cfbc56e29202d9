"""Token ids of many texts, as one array with offsets, and padded to the matrices of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Side = Literal["left", "right"]


@dataclass(frozen=True)
class Padding:
    """How rows of one batch are filled up to the longest."""

    token_id: int
    side: Side
    multiple_of: int | None = None
    type_id: int = 0


@dataclass(frozen=True)
class TokenizedTexts:
    """Token ids of many texts, end to end: text r owns ``ids[offsets[r]:offsets[r + 1]]``, special tokens included.

    ``ids`` and ``offsets`` are int64; ``truncated`` (texts,) tells which texts lost tokens. ``types`` (int64, as long
    as ``ids``) are the token types of text pairs. ``attended`` (bool, as long as ``ids``) is the attention mask: False
    at tokens that get a vector although no token attends to them, as a ColBERT query's mask tokens; None: all True.
    """

    ids: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    truncated: npt.NDArray[np.bool_]
    padding: Padding
    types: npt.NDArray[np.int64] | None = None
    attended: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.truncated)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each text, (texts,)."""
        return np.diff(self.offsets)

    def positions(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
        """Positions in ``ids`` of all tokens of some texts, text after text."""
        return ranges(self.offsets[rows], self.offsets[rows + 1])

    def take(self, rows: npt.NDArray[np.intp]) -> TokenizedTexts:
        """The tokens of some texts, in this order; of tokens without types that are all attended to."""
        offsets = np.concatenate(([0], np.cumsum(self.lengths[rows])))
        return TokenizedTexts(self.ids[self.positions(rows)], offsets, self.truncated[rows], self.padding)

    def padded(self, rows: npt.NDArray[np.intp], *, width: int = 0) -> PaddedTokens:
        """Put some texts' tokens side by side, filled up to the longest of them, or to ``width`` if that is more."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        width = max(width, int(lengths.max(initial=0)))
        if self.padding.multiple_of:
            width += -width % self.padding.multiple_of
        columns = np.arange(width) - (width - lengths[:, None] if self.padding.side == "left" else 0)
        real = columns >= 0 if self.padding.side == "left" else columns < lengths[:, None]
        positions, filled_up = self.offsets[rows, None] + columns, ~real

        def matrix(flat: npt.NDArray[Any] | None, filler: int | bool) -> npt.NDArray[Any] | None:
            if flat is None:
                return None
            if not len(flat):
                return np.full(real.shape, filler, dtype=flat.dtype)
            filled: npt.NDArray[Any] = flat.take(positions, mode="clip")
            filled[filled_up] = filler
            return filled

        ids = matrix(self.ids, self.padding.token_id)
        assert ids is not None
        attended = matrix(self.attended, False)
        return PaddedTokens(ids, real, real if attended is None else attended, matrix(self.types, self.padding.type_id))


def joined(parts: Sequence[TokenizedTexts]) -> TokenizedTexts:
    """Put tokens of texts behind one another; of tokens without types that are all attended to."""
    offsets = np.concatenate([[0], np.cumsum(np.concatenate([part.lengths for part in parts]))])
    truncated = np.concatenate([part.truncated for part in parts])
    return TokenizedTexts(np.concatenate([part.ids for part in parts]), offsets, truncated, parts[0].padding)


@dataclass(frozen=True)
class PaddedTokens:
    """Tokens of one batch as (rows, width) matrices.

    ``ids`` int64, ``real`` bool (False at padding), ``attended`` bool (the attention mask), ``types`` int64 or None
    where the tokens have none.
    """

    ids: npt.NDArray[np.int64]
    real: npt.NDArray[np.bool_]
    attended: npt.NDArray[np.bool_]
    types: npt.NDArray[np.int64] | None


def ranges(starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The integers of each range [start, stop), one range after the other, int64."""
    lengths = stops - starts
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    numbers: npt.NDArray[np.int64] = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
    return numbers
