"""Tokens of the last texts, kept for other models that tokenize alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedders.tokenization import TextTokenizer
    from embedders.tokenized_texts import TokenizedTexts


class TokenCache:
    """Keeps what each of some tokenizers made of its last texts, so that equal tokenizers share it.

    It is given to models that embed the same texts one after the other. Each
    tokenizer's last texts and their tokens stay until it gets others.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[list[str], TokenizedTexts]] = {}

    def encode(self, tokenizer: TextTokenizer, texts: list[str]) -> TokenizedTexts:
        """Tokenize texts, or take the tokens that an equal tokenizer made of them last; raises as it does."""
        last = self._last.get(tokenizer.identity)
        if last is not None and last[0] == texts:
            tokens = last[1]
            tokenizer.warn_of(int(tokens.truncated.sum()), len(texts))
            return tokens
        tokens = tokenizer.encode(texts)
        self._last[tokenizer.identity] = texts, tokens
        return tokens
