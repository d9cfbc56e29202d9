"""Turns pairs of texts into token ids, as rerankers read them: "[CLS] query [SEP] document [SEP]" or the like.

The two sides are tokenized apart, each distinct text once, and joined here. The tokenizers library can tokenize pairs,
but keeps every combination of the parts that truncation drops: two long texts then take gigabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from embedders.errors import ModelFilesError
from embedders.texts import DistinctTexts
from embedders.tokenization import TextTokenizer, refuse_invalid
from embedders.tokenized_texts import TokenizedTexts, ranges

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PairTemplate:
    """Ids and types of the tokens that a tokenizer puts before, between and after the two texts of a pair.

    ``side_types`` are the token types of the first and the second text.
    """

    ids: tuple[Ids, Ids, Ids]
    types: tuple[Ids, Ids, Ids]
    side_types: tuple[int, int]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> PairTemplate:
        """Learn it from a pair; raises ModelFilesError for a tokenizer that does not take pairs in their order."""
        encoding = tokenizer.encode("a", "a")
        sides = encoding.sequence_ids
        first, second = ([position for position, side in enumerate(sides) if side == wanted] for wanted in (0, 1))
        if not first or not second or first[-1] > second[0]:
            raise ModelFilesError("the tokenizer does not put a pair's second text behind its first")
        spans = (slice(0, first[0]), slice(first[-1] + 1, second[0]), slice(second[-1] + 1, None))
        ids, types = np.array(encoding.ids, np.int64), np.array(encoding.type_ids, np.int64)
        before, between, after = spans
        return cls(
            (ids[before], ids[between], ids[after]),
            (types[before], types[between], types[after]),
            (int(types[first[0]]), int(types[second[0]])),
        )

    @property
    def size(self) -> int:
        """Tokens of a pair that are not its texts'."""
        return sum(map(len, self.ids))


def encode_pairs(tokenizer: TextTokenizer, pairs: Sequence[tuple[str, str]]) -> TokenizedTexts:
    """Tokenize pairs, each as one row with token types; too long ones lose tokens of the longer text first.

    Raises ValueError naming the pair that is not two str of valid Unicode.
    """
    for row, pair in enumerate(pairs):
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2):
            raise ValueError(f"pair {row} must be a (query, document) tuple of two str, got {_shown(pair)}")
    special = tokenizer.tokenizer.num_special_tokens_to_add(True)
    room = tokenizer.max_length - special
    if room < 2:
        raise ValueError(f"max_length is {tokenizer.max_length}, but a pair takes {special} special tokens and 2 more")
    template = PairTemplate.of(tokenizer.tokenizer)
    try:
        distinct = DistinctTexts.of(chain.from_iterable(pairs))
        tokens, totals = tokenizer.encode_sides(distinct.texts)
    except (TypeError, ValueError):
        for row, pair in enumerate(pairs):
            refuse_invalid(pair, name=f"of pair {row}")
        raise
    numbers = distinct.inverse.reshape(-1, 2)
    before = totals[numbers]
    kept = longest_first(before, room)
    _settle_ties(before, kept, numbers, distinct.texts, tokenizer, room)
    truncated = np.asarray(np.any(kept < before, axis=1), dtype=np.bool_)
    tokenizer.warn_of(int(truncated.sum()), len(pairs))
    return _join(tokens, numbers, kept, template, truncated, from_left=tokenizer.limits.side == "left")


def longest_first(lengths: Ids, room: int) -> Ids:
    """Tokens that each text of a pair may keep, (pairs, 2), so that both together fit into ``room``.

    The longer text is cut to the length of the other; if that is not enough, both to half the room, and of an odd one
    the longer text (of equals the second) gets the odd token. This is the rule of the tokenizers library.
    """
    small = lengths.min(axis=1)
    cut = np.where(small > room, small, np.maximum(small, room - small))
    halved = small + cut > room
    small_kept = np.where(halved, room // 2, small)
    large_kept = np.where(halved, room // 2 + room % 2, cut)
    second_larger = lengths[:, 1] >= lengths[:, 0]
    kept = np.stack(
        (np.where(second_larger, small_kept, large_kept), np.where(second_larger, large_kept, small_kept)), axis=1
    )
    return np.where((lengths.sum(axis=1) <= room)[:, None], lengths, kept)


def _settle_ties(
    before: Ids,
    kept: Ids,
    numbers: npt.NDArray[np.intp],
    texts: list[str],
    tokenizer: TextTokenizer,
    room: int,
) -> None:
    """Correct, in place, which of two very long texts keeps the odd token: only lower bounds of lengths are known."""
    if room % 2 == 0:
        return
    for row in np.flatnonzero((before > tokenizer.max_length).all(axis=1)):
        true = np.array([[tokenizer.count(texts[number]) for number in numbers[row]]])
        kept[row] = longest_first(true, room)[0]


def _join(
    tokens: TokenizedTexts,
    numbers: npt.NDArray[np.intp],
    kept: Ids,
    template: PairTemplate,
    truncated: npt.NDArray[np.bool_],
    *,
    from_left: bool,
) -> TokenizedTexts:
    """Write template and texts side by side, pair after pair; ``numbers`` (pairs, 2) are the texts among ``tokens``."""
    sizes = [len(part) for part in template.ids]
    lengths = kept.sum(axis=1) + template.size
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    ids = np.empty(int(offsets[-1]), np.int64)
    types = np.empty_like(ids)
    start = offsets[:-1]
    for side in range(3):
        targets = (start[:, None] + np.arange(sizes[side])).ravel()
        ids[targets], types[targets] = (np.tile(part[side], len(start)) for part in (template.ids, template.types))
        start = start + sizes[side]
        if side < 2:
            first, last = tokens.offsets[numbers[:, side]], tokens.offsets[numbers[:, side] + 1]
            source = ranges(last - kept[:, side], last) if from_left else ranges(first, first + kept[:, side])
            targets = ranges(start, start + kept[:, side])
            ids[targets], types[targets] = tokens.ids[source], template.side_types[side]
            start = start + kept[:, side]
    return TokenizedTexts(ids, offsets, truncated, tokens.padding, types)


def _shown(pair: Any) -> str:
    if isinstance(pair, (tuple, list)):
        return f"{type(pair).__name__} of {len(pair)}"
    return type(pair).__name__
