"""Joins the pieces of a WordPiece tokenizer to words, for whole batches of texts in compiled code.

A word begins at every token that does not carry the tokenizer's continuing prefix ("##"). Arrow finds
equal sequences of pieces, so that Python handles each distinct word once, and remembers the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tokenizers import models

from embedders.errors import ModelFilesError
from embedders.sparse.terms import MEMO_WORDS
from embedders.tokenization import TextTokenizer
from embedders.tokenized_texts import TokenizedTexts

T = TypeVar("T")

STOPWORDS_FILE = "stopwords.txt"
DEFAULT_PREFIX = "##"


@dataclass(frozen=True)
class PieceWords:
    """Words of some texts, in order.

    Word w belongs to text ``rows[w]`` and is made of the tokens ``positions[starts[w]:starts[w + 1]]`` (positions
    in TokenizedTexts.ids, ascending). It is the ``numbers[w]``-th of the distinct words, each given by its piece ids as
    int32 bytes in ``distinct``.
    """

    rows: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int32]
    distinct: list[bytes]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Pieces of each word."""
        return np.diff(self.starts)


class WordPieces:
    """The vocabulary of a WordPiece tokenizer; ``skip_special`` leaves special tokens out, between pieces too."""

    def __init__(self, tokenizer: TextTokenizer, *, skip_special: bool) -> None:
        model = tokenizer.tokenizer.model
        if not isinstance(model, models.WordPiece):
            raise ModelFilesError(
                f"words are put together from the pieces of a WordPiece tokenizer; this one is {type(model).__name__}"
            )
        prefix: str = getattr(model, "continuing_subword_prefix", None) or DEFAULT_PREFIX
        size = tokenizer.vocabulary_size
        self._pieces = [""] * size
        self._continues = np.zeros(size, dtype=np.bool_)
        for token, number in tokenizer.tokenizer.get_vocab(with_added_tokens=True).items():
            self._continues[number] = token.startswith(prefix)
            self._pieces[number] = token.removeprefix(prefix)
        self._skipped = np.zeros(size, dtype=np.bool_)
        if skip_special:
            self._skipped[list(tokenizer.special_tokens.values())] = True

    def split(self, tokens: TokenizedTexts) -> PieceWords:
        """Find the words of texts."""
        positions = np.flatnonzero(~self._skipped[tokens.ids])
        ids = tokens.ids[positions]
        rows = np.searchsorted(tokens.offsets, positions, side="right") - 1
        begins = ~self._continues[ids]
        begins[:1] = True
        begins[1:] |= rows[1:] != rows[:-1]
        firsts = np.flatnonzero(begins)
        starts = np.append(firsts, len(ids))
        offsets = pa.py_buffer((starts * 4).astype(np.int64))
        column = pa.LargeBinaryArray.from_buffers(
            pa.large_binary(), len(firsts), [None, offsets, pa.py_buffer(ids.astype(np.int32))]
        )
        encoded = column.dictionary_encode()
        return PieceWords(rows[firsts], positions, starts, encoded.indices.to_numpy(), encoded.dictionary.to_pylist())

    def text(self, pieces: bytes) -> str:
        """The word that a sequence of piece ids spells."""
        return "".join(self._pieces[number] for number in np.frombuffer(pieces, np.int32))


class WordMemo(Generic[T]):
    """Remembered values of words; ``learn`` gets words that are new and returns a value for each."""

    def __init__(self, pieces: WordPieces, learn: Callable[[list[str]], Sequence[T]]) -> None:
        self._pieces, self._learn = pieces, learn
        self._memo: dict[bytes, T] = {}

    def values(self, distinct: list[bytes]) -> list[T]:
        """Value of each of the distinct words."""
        memo = self._memo
        new = [word for word in distinct if word not in memo]
        if len(memo) + len(new) > MEMO_WORDS:
            # A new dict, not clear(): another thread may be reading the old one.
            memo = self._memo = {}
            new = distinct
        if new:
            memo.update(zip(new, self._learn([self._pieces.text(word) for word in new]), strict=True))
        return [memo[word] for word in distinct]


def read_stopwords(folder: Path) -> frozenset[str]:
    """Read a model's stop words, one a line; raises ModelFilesError where the list is missing or not UTF-8."""
    path = folder / STOPWORDS_FILE
    try:
        return frozenset(path.read_text(encoding="utf-8").splitlines())
    except OSError:
        raise ModelFilesError(
            f"{folder} has no {STOPWORDS_FILE}; put the list there, one word a line (an empty file keeps every word)"
        ) from None
    except UnicodeDecodeError as error:
        raise ModelFilesError(f"{path} is not UTF-8 ({error}); save the stop words as UTF-8") from None
