"""Tokens of the last texts, kept for other models that tokenize alike."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedders.tokenization import TextTokenizer
    from embedders.tokenized_texts import TokenizedTexts

# A block of a job on a GPU has 8,192, and the pieces that it is embedded in are kept one by one.
MOST_TEXTS = 16384
# One lock for all caches, since what holds a lock cannot be pickled; pieces are tokenized in several threads.
_KEEPING = Lock()


class TokenCache:
    """Keeps what each of some tokenizers made of its last lists of texts, so that equal tokenizers share it.

    It is given to models that embed the same texts one after the other, whole or in the same pieces. Of each tokenizer
    the last list of texts and its tokens stay, and those before it, up to ``most_texts`` in all.
    """

    def __init__(self, most_texts: int = MOST_TEXTS) -> None:
        self._most_texts = most_texts
        # By tokenizer, oldest first.
        self._last: dict[str, list[tuple[list[str], TokenizedTexts]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Whoever pickles a model sends no texts along.
        return {**self.__dict__, "_last": {}}

    def encode(self, tokenizer: TextTokenizer, texts: list[str]) -> TokenizedTexts:
        """Tokenize texts, or take the tokens that an equal tokenizer made of them lately; raises as it does."""
        identity = tokenizer.identity
        with _KEEPING:
            last = tuple(self._last.get(identity, ()))
        known = next((tokens for others, tokens in last if others == texts), None)
        if known is not None:
            tokenizer.warn_of(int(known.truncated.sum()), len(texts))
            return known
        tokens = tokenizer.encode(texts)
        with _KEEPING:
            self._keep(self._last.setdefault(identity, []), texts, tokens)
        return tokens

    def _keep(self, last: list[tuple[list[str], TokenizedTexts]], texts: list[str], tokens: TokenizedTexts) -> None:
        last.append((texts, tokens))
        texts_kept = sum(len(some) for some, _ in last)
        while len(last) > 1 and texts_kept > self._most_texts:
            texts_kept -= len(last.pop(0)[0])
