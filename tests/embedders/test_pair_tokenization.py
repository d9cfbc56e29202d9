"""Pairs of texts against the tokenizers library, which truncates and joins them as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastembed.common.preprocessor_utils import load_tokenizer as load_reference
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from embedders.pair_tokenization import encode_pairs
from embedders.tokenization import TextTokenizer, load_tokenizer
from tests.embedders.texts import ODD_TEXTS
from tests.synthetic_models import XLM_SPECIAL, Plan, write_json, write_tokenizer

PLANS = {
    "wordpiece": Plan(),
    "bpe": Plan(algorithm="bpe", special=XLM_SPECIAL),
    "unigram": Plan(algorithm="unigram", special=XLM_SPECIAL),
}
# Both texts of a pair may have some thousand tokens: with less, the reference would keep millions of dropped parts.
LONG_LIMITS = [128, 129]

PIECES = st.sampled_from(["bat", "x", "river bank", "[SEP]", "<mask>", "東京", "\n", "°", "fliers,", "😀"])
# Longer than every limit below, and no more: the reference's time grows by the square of a pair's tokens.
SIDES = st.lists(st.tuples(PIECES, st.sampled_from([1, 2, 7, 16])), max_size=3).map(
    lambda parts: " ".join(" ".join([piece] * count) for piece, count in parts)
)


def both(
    folder: Path, side: str = "right", limit: int = 32, plan: str = "wordpiece"
) -> tuple[TextTokenizer, Tokenizer]:
    """Our tokenizer and fastembed's, of the same files."""
    write_tokenizer(folder, PLANS[plan], limit=limit)
    pad = PLANS[plan].special[0]
    write_json(folder / "tokenizer_config.json", {"model_max_length": limit, "pad_token": pad, "truncation_side": side})
    return load_tokenizer(folder), load_reference(folder)[0]


def assert_equal(ours: TextTokenizer, reference: Tokenizer, pairs: list[tuple[str, str]]) -> None:
    tokens = encode_pairs(ours, pairs)
    assert tokens.types is not None
    for row, pair in enumerate(pairs):
        expected = reference.encode(*pair)
        own = slice(*tokens.offsets[row : row + 2])
        # Whole arrays of long pairs would make a failure unreadable.
        shown = [text[:60] for text in pair]
        assert np.array_equal(tokens.ids[own], expected.ids), shown
        assert np.array_equal(tokens.types[own], expected.type_ids), shown
        assert tokens.truncated[row] == bool(expected.overflowing), shown


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_any_pairs_are_cut_and_joined_as_the_library_does(plan: str, side: str, tmp_path: Path) -> None:
    tokenizers = {limit: both(tmp_path, side, limit, plan) for limit in (7, 8, 16, 31)}

    @settings(max_examples=20, deadline=None)
    @given(st.sampled_from([7, 8, 16, 31]), st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=5))
    @example(8, [("", ""), ("", "x " * 9), ("x " * 9, ""), ("x " * 9, "x " * 9), ("x " * 3, "bat " * 3)])
    def check(limit: int, pairs: list[tuple[str, str]]) -> None:
        assert_equal(*tokenizers[limit], pairs)

    check()


@pytest.mark.parametrize("limit", LONG_LIMITS)
@pytest.mark.parametrize(
    "pair",
    [
        ("a" * 5000, "b"),
        ("b", "hello " * 9000),
        ("bat " * 1500, "cave " * 1500),
        ("x " * 2500, "hello " * 3000),
        ("hello " * 3000, "x " * 2500),
        ("x " * 2500, "hello " * 800),
        ("東" * 2200, "the river bank " * 900),
        ("\n" * 9000 + "bat", "cave " * 200),
    ],
    ids=lambda pair: f"{pair[0][:5]!r}-{pair[1][:5]!r}",
)
def test_very_long_texts_keep_what_the_library_keeps_of_them(pair: tuple[str, str], limit: int, tmp_path: Path) -> None:
    """They are cut by characters first, which must not change who is the longer and keeps an odd token."""
    assert_equal(*both(tmp_path, limit=limit), [pair])


@pytest.mark.parametrize("plan", PLANS)
def test_odd_texts_on_either_side(plan: str, tmp_path: Path) -> None:
    pairs = [(text, "bat " * 20) for text in ODD_TEXTS] + [("cave", text) for text in ODD_TEXTS]
    assert_equal(*both(tmp_path, limit=40, plan=plan), pairs)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("a", None), "of pair 2 is NoneType"),
        (("\ud800", "b"), r"of pair 2 has a lone surrogate U\+D800"),
        (("a",), r"pair 2 must be a \(query, document\) tuple"),
        ("ab", r"pair 2 must be a \(query, document\) tuple"),
        (None, r"pair 2 must be a \(query, document\) tuple.*NoneType"),
        ((["a"], "b"), "of pair 2 is list"),
    ],
    ids=ascii,
)
def test_what_is_no_pair_is_named(pair: Any, message: str, tmp_path: Path) -> None:
    ours, _ = both(tmp_path)
    with pytest.raises(ValueError, match=message):
        encode_pairs(ours, [("a", "b"), ("a", "b"), pair])


def test_limits_without_room_for_both_texts_are_refused(tmp_path: Path) -> None:
    ours, _ = both(tmp_path, limit=4)
    with pytest.raises(ValueError, match="a pair takes 3 special tokens"):
        encode_pairs(ours, [("a", "b")])


def test_no_pairs_give_no_tokens(tmp_path: Path) -> None:
    tokens = encode_pairs(both(tmp_path)[0], [])
    assert (len(tokens), tokens.ids.size, tokens.offsets.tolist()) == (0, 0, [0])
