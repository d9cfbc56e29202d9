"""Turns texts into token ids, with the settings of a model's tokenizer files."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Encoding, Tokenizer
from tokenizers.models import Unigram

from embedders.errors import ModelFilesError
from embedders.files.json_file import read_json_object
from embedders.fingerprint import facts_digest
from embedders.length_limit import files_limit
from embedders.long_texts import cut_text
from embedders.tokenized_texts import Padding, Side, TokenizedTexts, joined
from embedders.wordpiece_texts import LEAST_CHARACTERS, WordPieceTexts

logger = logging.getLogger(__name__)

# Tokens, cut at the limit, and how many each text had before, (texts,).
Encoded: TypeAlias = tuple[TokenizedTexts, npt.NDArray[np.int64]]

# A text is first tokenized up to this many characters a token of the limit. Real text has 1 to 6.
CHARACTERS_A_TOKEN = 8
SMALLEST_CUT = 1024
# Texts whose cut did not fill the limit (long runs of blanks, one giant word) are tried with this many times more.
CUT_GROWTH = 64
# Tokens that must lie between the limit and the cut. Cutting can change the tokens next to it, no others.
CUT_MARGIN = 32


@dataclass(frozen=True)
class Limits:
    """How a tokenizer cuts and completes texts.

    ``max_length`` counts special tokens; ``side`` is where tokens are dropped. Without ``special_tokens`` none are
    added.
    """

    max_length: int
    side: Side = "right"
    special_tokens: bool = True


class TextTokenizer:
    """A loaded tokenizer with its limits and padding; see ``load_tokenizer``."""

    def __init__(self, tokenizer: Tokenizer, limits: Limits, padding: Padding) -> None:
        self.tokenizer = tokenizer
        self.limits, self.padding = limits, padding
        special = tokenizer.num_special_tokens_to_add(False) if limits.special_tokens else 0
        # Tokens of a text itself that there is room for.
        self.room = limits.max_length - special
        if limits.max_length <= special:
            raise ValueError(
                f"max_length is {limits.max_length}, but each text takes {special} special tokens and at least 1 more"
            )
        tokenizer.enable_truncation(limits.max_length, direction=limits.side)
        # Rows of one batch are padded together once their batch is known.
        tokenizer.no_padding()
        self._warned = self._warned_of_unknown = False

    @property
    def max_length(self) -> int:
        """Tokens a text has at most, special ones included."""
        return self.limits.max_length

    @cached_property
    def identity(self) -> str:
        """Hex sha256 over all that decides what `encode` gives: equal where two tokenizers give the same."""
        return facts_digest([self.tokenizer.to_str(), asdict(self.limits), asdict(self.padding)])

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids, added tokens included."""
        return 1 + max(self.tokenizer.get_vocab(with_added_tokens=True).values())

    @cached_property
    def unknown_id(self) -> int | None:
        """Id of the token that stands for what the vocabulary lacks; None where nothing can lack."""
        model = self.tokenizer.model
        if not isinstance(model, Unigram):
            return self.tokenizer.token_to_id(model.unk_token) if model.unk_token else None
        # Said nowhere but in what is pickled of the model, where the vocabulary, which is large, comes last.
        state: bytes = model.__getstate__()
        unknown: int | None = json.loads(state.partition(b',"vocab":')[0] + b"}").get("unk_id")
        return unknown

    def mostly_unknown(self, tokens: TokenizedTexts, prompt: str = "") -> npt.NDArray[np.bool_]:
        """Mark the texts of which at least half of the tokens are unknown, (texts,); special ones do not count.

        ``prompt`` is what was put before each text, whose tokens do not count either.
        """
        none = np.zeros(len(tokens), dtype=np.bool_)
        if self.unknown_id is None or not (unknown := tokens.ids == self.unknown_id).any():
            return none
        special = self.tokenizer.encode("", add_special_tokens=self.limits.special_tokens).ids
        sums = np.concatenate(([0], np.cumsum(unknown)))
        # Of models that know every byte, as CLIP, the unknown token may be the one that ends each text.
        counts = np.diff(sums[tokens.offsets]) - special.count(self.unknown_id)
        own = tokens.lengths - len(special) - (self.count(prompt) if prompt else 0)
        marks: npt.NDArray[np.bool_] = (counts > 0) & (2 * counts >= own)
        return marks

    @property
    def special_tokens(self) -> dict[str, int]:
        """Ids of the added tokens that are flagged special, by content."""
        added = self.tokenizer.get_added_tokens_decoder().items()
        return {token.content: token_id for token_id, token in added if token.special}

    def encode(self, texts: Sequence[str]) -> TokenizedTexts:
        """Tokenize texts in one call.

        Very long texts are cut by characters first, and tried again with a longer cut unless that filled the limit
        with room to spare: the ids are those of the whole text for every tokenizer that works word by word (all
        of the catalog that split at blanks or punctuation). Raises ValueError for what is not valid text.
        """
        with _invalid_refused(texts):
            tokens, _ = self._encode_cut(texts, self._encode_words)
        self.warn_of(int(tokens.truncated.sum()), len(texts))
        return tokens

    def encode_sides(self, texts: Sequence[str]) -> Encoded:
        """Tokenize texts that are to become parts of pairs: without special tokens, uncounted as truncated.

        Returns the tokens, cut at the limit, and the number of tokens before the cut (texts,), of which a very long
        text's is only a lower bound above the limit. Raises ValueError as ``encode`` does.
        """
        with _invalid_refused(texts):
            return self._encode_cut(texts, partial(self._encode_batch, special_tokens=False))

    def count(self, text: str) -> int:
        """Count a text's tokens as if there were no limit, special tokens left out."""
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        return len(encoding) + _surplus(encoding)

    def warn_of(self, truncated: int, rows: int) -> None:
        """Log, once, that texts were truncated."""
        if truncated and not self._warned:
            self._warned = True
            logger.warning(
                "%d of %d texts are longer than %d tokens and were truncated (later ones are only counted); "
                "chunk them, or raise max_length if the model can take more.",
                truncated,
                rows,
                self.max_length,
            )

    def warn_of_unknown(self, unknown: int, rows: int) -> None:
        """Log, once, that texts are mostly unknown to the tokenizer."""
        if unknown and not self._warned_of_unknown:
            self._warned_of_unknown = True
            logger.warning(
                "%d of %d texts are mostly unknown to the tokenizer, and their vectors say little of them (later ones "
                "are only counted); take a model for their language, and see that they are text with words.",
                unknown,
                rows,
            )

    def _flatten(self, encodings: list[Encoding]) -> Encoded:
        """Tokens of encodings end to end, and how many each had before truncation."""
        lengths = np.fromiter(map(len, encodings), dtype=np.int64, count=len(encodings))
        totals = lengths.copy()
        for row in np.flatnonzero(lengths >= self.max_length):
            totals[row] += _surplus(encodings[row])
        offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
        ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.int64, count=int(offsets[-1]))
        return TokenizedTexts(ids, offsets, totals > lengths, self.padding), totals

    @cached_property
    def _words(self) -> WordPieceTexts | None:
        return WordPieceTexts.make(self.tokenizer) if self.limits.special_tokens else None

    def _encode_cut(self, texts: Sequence[str], encode: Callable[[Sequence[str]], Encoded]) -> Encoded:
        """Tokenize the beginning of long texts, and more of those whose beginning did not fill the limit."""
        limit = max(SMALLEST_CUT, self.max_length * CHARACTERS_A_TOKEN)
        tokens, totals = encode(self._cut(texts, limit))
        long = np.flatnonzero(np.fromiter((len(text) > limit for text in texts), np.bool_, len(texts)))
        while len(pending := long[totals[long] < self.max_length + CUT_MARGIN]):
            limit *= CUT_GROWTH
            again = [texts[row] for row in pending.tolist()]
            longer, totals[pending] = encode(self._cut(again, limit))
            done = np.delete(np.arange(len(texts)), pending)
            order = np.argsort(np.concatenate([done, pending]))
            tokens = joined([tokens.take(done), longer]).take(order)
            long = pending[[len(text) > limit for text in again]]
        return tokens, totals

    def _cut(self, texts: Sequence[str], limit: int) -> Sequence[str]:
        if max(map(len, texts), default=0) <= limit:
            return texts
        return [text if len(text) <= limit else cut_text(text, limit, self.limits.side) for text in texts]

    def _encode_words(self, texts: Sequence[str]) -> Encoded:
        """Tokenize texts, word by word where that is the same and there are many."""
        words = None if sum(map(len, texts)) < LEAST_CHARACTERS else self._words
        known = np.zeros(len(texts), np.bool_) if words is None else words.known(texts)
        if words is None or not known.any():
            return self._encode_batch(texts, special_tokens=self.limits.special_tokens)
        limits: dict[str, Any] = {"max_length": self.max_length, "side": self.limits.side, "padding": self.padding}
        if known.all():
            return words.encode(texts, **limits)
        rows = np.flatnonzero(known), np.flatnonzero(~known)
        some, others = ([texts[row] for row in part.tolist()] for part in rows)
        parts = [words.encode(some, **limits), self._encode_batch(others, special_tokens=self.limits.special_tokens)]
        order = np.argsort(np.concatenate(rows))
        return joined([tokens for tokens, _ in parts]).take(order), np.concatenate([told for _, told in parts])[order]

    def _encode_batch(self, texts: Sequence[str], *, special_tokens: bool) -> Encoded:
        # A quarter faster than with offsets into the text.
        return self._flatten(self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=special_tokens))


def _surplus(encoding: Encoding) -> int:
    """Tokens that truncation dropped (special tokens of the dropped parts included)."""
    return sum(len(part) for part in encoding.overflowing)


@contextmanager
def _invalid_refused(texts: Sequence[Any]) -> Iterator[None]:
    """Raise ValueError as ``refuse_invalid`` does where texts are none, or the tokenizer refuses some of them."""
    if not all(isinstance(text, str) for text in texts):
        refuse_invalid(texts)
    try:
        yield
    except TypeError:
        refuse_invalid(texts)
        raise


def refuse_invalid(texts: Sequence[Any], name: str = "of the batch") -> None:
    """Raise ValueError naming the first item that is not a str or that UTF-8 cannot hold."""
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"text {row} {name} is {type(text).__name__}, not str: drop or fill such rows")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"text {row} {name} has a lone surrogate U+{ord(text[error.start]):04X} at character "
                f"{error.start}, which is not valid Unicode; decode its source with errors='replace'"
            ) from None


def load_tokenizer(
    folder: Path, *, max_length: int | None = None, reserved: int = 0, defaults: Mapping[str, Any] | None = None
) -> TextTokenizer:
    """Load a model's tokenizer, truncating as its files say or at ``max_length`` tokens.

    ``reserved`` tokens of that limit are left free for markers that are put in later. ``defaults`` are the content of
    tokenizer_config.json where there is none; without them it must be there. Raises ModelFilesError for files that are
    missing or unusable, ValueError for a ``max_length`` that leaves no room for a token.
    """
    settings = read_json_object(folder / "tokenizer_config.json", required=not defaults) or dict(defaults or {})
    tokenizer = read_tokenizer(folder)
    limit = (_files_max_length(settings, folder) if max_length is None else max_length) - reserved
    serialized = (tokenizer.truncation or {}).get("direction")
    side: Side = settings.get("truncation_side") or serialized or "right"
    # First, since the pad token may be one of them.
    _add_special_tokens(tokenizer, folder)
    return TextTokenizer(tokenizer, Limits(limit, side), _padding(tokenizer, settings, folder))


def read_tokenizer(folder: Path) -> Tokenizer:
    """Read a folder's tokenizer.json; raises ModelFilesError where it is missing or unreadable."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelFilesError(f"{path} is missing: the model's folder is incomplete")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:
        raise ModelFilesError(f"{path} is not a tokenizer that the installed tokenizers can read: {error}") from error


def _files_max_length(settings: dict[str, Any], folder: Path) -> int:
    """The smaller of the limits in tokenizer_config.json; 1e30 and the like mean unknown."""
    limit = files_limit(settings)
    if limit is None:
        raise ModelFilesError(
            f"{folder / 'tokenizer_config.json'} gives neither model_max_length nor max_length: pass max_length"
        )
    return limit


def _add_special_tokens(tokenizer: Tokenizer, folder: Path) -> None:
    for token in _flat(read_json_object(folder / "special_tokens_map.json", required=False).values()):
        if isinstance(token, str):
            tokenizer.add_special_tokens([token])
        elif isinstance(token, dict):
            tokenizer.add_special_tokens([AddedToken(**token)])


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        yield from value if isinstance(value, list) else (value,)


def _padding(tokenizer: Tokenizer, settings: dict[str, Any], folder: Path) -> Padding:
    """Padding settings: tokenizer.json's, then tokenizer_config.json's, then config.json's, then the vocabulary."""
    serialized = tokenizer.padding or {}
    token = serialized.get("pad_token") or settings.get("pad_token")
    if isinstance(token, dict):
        token = token.get("content")
    if token is None:
        raise ModelFilesError(f"{folder}: neither tokenizer.json nor tokenizer_config.json names a pad token")
    config = read_json_object(folder / "config.json", required=False)
    token_id = serialized.get("pad_id", config.get("pad_token_id"))
    if token_id is None:
        token_id = tokenizer.token_to_id(token)
    if token_id is None:
        raise ModelFilesError(f"{folder}: the pad token {token!r} has no id in the vocabulary")
    side: Side = settings.get("padding_side") or serialized.get("direction") or "right"
    return Padding(int(token_id), side, serialized.get("pad_to_multiple_of"), int(serialized.get("pad_type_id") or 0))
