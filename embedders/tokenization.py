"""Texts -> token ids, with the settings of a model's tokenizer files."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Encoding, Tokenizer

from embedders.errors import ModelFilesError

logger = logging.getLogger(__name__)

Side = Literal["left", "right"]

# A text is first tokenized up to this many characters a token of the limit. Real text has 1 to 8.
CHARACTERS_A_TOKEN = 16
SMALLEST_CUT = 4096
# Texts whose cut did not fill the limit (long runs of blanks, one giant word) are tried with this many times more.
CUT_GROWTH = 64
# Tokens that must lie between the limit and the cut. Cutting can change the tokens next to it, no others.
CUT_MARGIN = 32


@dataclass(frozen=True)
class Padding:
    """How rows of one batch are filled up to the longest."""

    token_id: int
    side: Side
    multiple_of: int | None = None


@dataclass(frozen=True)
class TokenizedTexts:
    """Token ids of many texts, end to end: text r owns ``ids[offsets[r]:offsets[r + 1]]``, special tokens included.

    ``ids`` and ``offsets`` are int64; ``truncated`` (texts,) tells which texts lost tokens.
    """

    ids: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    truncated: npt.NDArray[np.bool_]
    padding: Padding

    def __len__(self) -> int:
        return len(self.truncated)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each text, (texts,)."""
        return np.diff(self.offsets)

    def padded(self, rows: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Ids and mask of some texts as matrices (rows, longest of them), int64 and bool."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        width = int(lengths.max(initial=0))
        if self.padding.multiple_of:
            width += -width % self.padding.multiple_of
        columns = np.arange(width) - (width - lengths[:, None] if self.padding.side == "left" else 0)
        mask = (columns >= 0) & (columns < lengths[:, None])
        ids = np.full(mask.shape, self.padding.token_id, dtype=np.int64)
        ids[mask] = self.ids[(self.offsets[rows, None] + columns)[mask]]
        return ids, mask


class TextTokenizer:
    """A model's tokenizer, truncating as its files say or at ``max_length`` tokens, special ones included."""

    def __init__(self, folder: Path, *, max_length: int | None = None) -> None:
        settings = _read_json(folder / "tokenizer_config.json")
        self.tokenizer = _load(folder)
        limit = _files_max_length(settings, folder) if max_length is None else max_length
        self.max_length = _checked_max_length(limit, self.tokenizer.num_special_tokens_to_add(False))
        serialized = (self.tokenizer.truncation or {}).get("direction")
        self.truncation_side: Side = settings.get("truncation_side") or serialized or "right"
        self.tokenizer.enable_truncation(self.max_length, direction=self.truncation_side)
        _add_special_tokens(self.tokenizer, folder)
        self.padding = _padding(self.tokenizer, settings, folder)
        # Rows of one batch are padded together once their batch is known.
        self.tokenizer.no_padding()
        self._warned = False

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
        if not all(isinstance(text, str) for text in texts):
            refuse_invalid(texts)
        encodings = self._encode_cut(texts)
        lengths = np.fromiter(map(len, encodings), dtype=np.int64, count=len(encodings))
        truncated = np.zeros(len(encodings), dtype=np.bool_)
        for row in np.flatnonzero(lengths >= self.max_length):
            truncated[row] = _surplus(encodings[row]) > 0
        self._warn_of(int(truncated.sum()), len(texts))
        offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
        ids = chain.from_iterable(encoding.ids for encoding in encodings)
        return TokenizedTexts(np.fromiter(ids, np.int64, count=int(offsets[-1])), offsets, truncated, self.padding)

    def _encode_cut(self, texts: Sequence[str]) -> list[Encoding]:
        limit = max(SMALLEST_CUT, self.max_length * CHARACTERS_A_TOKEN)
        encodings = self._encode_batch(texts, limit)
        while pending := [
            row for row, text in enumerate(texts) if len(text) > limit and _surplus(encodings[row]) < CUT_MARGIN
        ]:
            limit *= CUT_GROWTH
            for row, encoding in zip(pending, self._encode_batch([texts[row] for row in pending], limit), strict=True):
                encodings[row] = encoding
        return encodings

    def _encode_batch(self, texts: Sequence[str], limit: int) -> list[Encoding]:
        try:
            cut = [text if len(text) <= limit else _cut(text, limit, self.truncation_side) for text in texts]
            # Without offsets into the text, a quarter faster.
            encodings: list[Encoding] = self.tokenizer.encode_batch_fast(cut)
        except TypeError:
            refuse_invalid(texts)
            raise
        return encodings

    def _warn_of(self, truncated: int, rows: int) -> None:
        if truncated and not self._warned:
            self._warned = True
            logger.warning(
                "%d of %d texts are longer than %d tokens and were truncated (later ones are only counted); "
                "chunk them, or raise max_length if the model can take more.",
                truncated,
                rows,
                self.max_length,
            )


def _surplus(encoding: Encoding) -> int:
    """Tokens that truncation dropped (special tokens of the dropped parts included)."""
    return sum(len(part) for part in encoding.overflowing)


def _cut(text: str, limit: int, side: Side) -> str:
    """Keep at most ``limit`` characters of the side that truncation keeps, whole words if there are any."""
    if side == "left":
        tail = text[-limit:]
        blank = tail.find(" ")
        return tail[blank:] if 0 <= blank < limit // 2 else tail
    head = text[:limit]
    blank = head.rfind(" ")
    return head[:blank] if blank > limit // 2 else head


def refuse_invalid(texts: Sequence[Any]) -> None:
    """Raise ValueError naming the first item that is not a str or that UTF-8 cannot hold."""
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"text {row} of the batch is {type(text).__name__}, not str: drop or fill such rows")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"text {row} of the batch has a lone surrogate U+{ord(text[error.start]):04X} at character "
                f"{error.start}, which is not valid Unicode; decode its source with errors='replace'"
            ) from None


def _load(folder: Path) -> Tokenizer:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelFilesError(f"{path} is missing: the model's folder is incomplete")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:
        raise ModelFilesError(f"{path} is not a tokenizer that the installed tokenizers can read: {error}") from error


def _read_json(path: Path, *, required: bool = True) -> dict[str, Any]:
    if not path.is_file():
        if required:
            raise ModelFilesError(f"{path} is missing: the model's folder is incomplete")
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFilesError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise ModelFilesError(f"{path} must hold a JSON object, not {type(content).__name__}")
    return content


def _files_max_length(settings: dict[str, Any], folder: Path) -> int:
    """The smaller of the limits in tokenizer_config.json; 1e30 and the like mean unknown."""
    values = (settings.get("model_max_length"), settings.get("max_length"))
    limits = [value for value in values if type(value) is int and 0 < value <= sys.maxsize]
    if not limits:
        raise ModelFilesError(
            f"{folder / 'tokenizer_config.json'} gives neither model_max_length nor max_length: pass max_length"
        )
    return min(limits)


def _checked_max_length(max_length: int, special: int) -> int:
    if max_length <= special:
        raise ValueError(
            f"max_length is {max_length}, but each text takes {special} special tokens and at least 1 more"
        )
    return max_length


def _add_special_tokens(tokenizer: Tokenizer, folder: Path) -> None:
    for token in _flat(_read_json(folder / "special_tokens_map.json", required=False).values()):
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
    config = _read_json(folder / "config.json", required=False)
    token_id = serialized.get("pad_id", config.get("pad_token_id"))
    if token_id is None:
        token_id = tokenizer.token_to_id(token)
    if token_id is None:
        raise ModelFilesError(f"{folder}: the pad token {token!r} has no id in the vocabulary")
    side: Side = settings.get("padding_side") or serialized.get("direction") or "right"
    return Padding(int(token_id), side, serialized.get("pad_to_multiple_of"))
