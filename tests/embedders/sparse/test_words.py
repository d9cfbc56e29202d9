from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedders.sparse.words import slices, split_words, text_column

TRICKY = st.text(alphabet=st.sampled_from("aZ_9 .'’\n\0\x1c\x85éßΣς\u0307ʰⅣ۵ॐ中𝔸😀\u2028\u203f\ufeff"))
TEXTS = st.lists(st.text() | TRICKY, max_size=20)


def words_of(texts: list[str]) -> list[list[str]]:
    words = split_words(text_column(texts))
    flat = [word.lower() for word in words.column.to_pylist()]
    return [flat[begin:end] for begin, end in zip(words.offsets[:-1], words.offsets[1:], strict=True)]


def words_by_regex(text: str) -> list[str]:
    return re.findall(r"\w+", re.sub(r"[^\w\s]", " ", text).lower())


@given(TEXTS)
def test_words_are_those_of_pythons_regular_expressions(texts: list[str]) -> None:
    expected = [words_by_regex(text) for text in texts if not ("İ" in text and "Σ" in text)]
    assert words_of([text for text in texts if not ("İ" in text and "Σ" in text)]) == expected


@pytest.mark.slow
def test_every_character_of_unicode_is_cut_as_pythons_regular_expressions_do() -> None:
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    texts = ["".join(f"a{c}b " for c in characters[i : i + 4096]) for i in range(0, len(characters), 4096)]
    assert words_of(texts) == [words_by_regex(text) for text in texts]


def test_words_do_not_run_on_into_the_next_text() -> None:
    assert words_of(["one", "two", "", "thr", "ee"]) == [["one"], ["two"], [], ["thr"], ["ee"]]


def test_dotted_capital_i_ends_a_word() -> None:
    assert words_of(["DİYARBAKIR İI İ"]) == [["di", "yarbakir", "i", "i", "i"]]


def test_final_sigma_is_told_from_the_word_alone() -> None:
    assert words_of(["ΟΔΟΣ.ΑΣ'Α ΣΟΣ"]) == [["οδος", "ας", "α", "σος"]]


@given(TEXTS, st.integers(1, 60))
def test_slices_hold_each_text_once_in_order_and_are_as_large_as_the_budget_lets_them(
    texts: list[str], budget: int
) -> None:
    parts = [part.to_pylist() for part in slices(text_column(texts), budget)]
    assert [text for part in parts for text in part] == texts
    # Each text counts with the space that will follow it.
    sizes = [[len(text.encode()) + 1 for text in part] for part in parts]
    assert all(len(size) == 1 or sum(size) <= budget for size in sizes)
    assert all(sum(size) + following[0] > budget for size, following in pairwise(sizes))


def test_slices_of_a_sliced_column_are_cut_by_its_own_lengths() -> None:
    column = pa.array(["x" * 100, "a b", "c", "d e f"]).slice(1, 3)
    parts = [split_words(part).column.to_pylist() for part in slices(text_column(column), 6)]
    assert parts == [["a", "b", "c"], ["d", "e", "f"]]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a b", "c"], pa.string()),
        pa.array(["a b", "c"], pa.large_string()),
        pa.array(["a b", "c"], pa.string_view()),
        pa.array(["a b", "c"]).dictionary_encode(),
        pa.chunked_array([["a b"], ["c"]]),
        ("a b", "c"),
        [np.str_("a b"), "c"],
    ],
    ids=["string", "large_string", "string_view", "dictionary", "chunked", "tuple", "subclass of str"],
)
def test_texts_may_come_in_any_of_these(column: object) -> None:
    assert text_column(column).to_pylist() == ["a b", "c"]


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        (["a", None], TypeError, "text 1 must be a str, not NoneType"),
        (["a", "b", b"c"], TypeError, "text 2 must be a str, not bytes"),
        ("abc", TypeError, "wrap it in a list"),
        (pa.array(["a", None]), TypeError, "text 1 must be a str, not null"),
        (pa.chunked_array([["a"], [None]]), TypeError, "text 1 must be a str, not null"),
        (pa.array([1, 2]), TypeError, "not of int64"),
        (["a", "bc\ud800"], ValueError, r"text 1 holds the lone surrogate U\+D800 at character 2"),
        (pa.array([b"a", b"\xff"]).view(pa.string()), ValueError, "string index 1"),
    ],
)
def test_what_is_no_text_is_refused_with_its_position(texts: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        text_column(texts)


def test_empty_columns_of_any_type_hold_no_texts() -> None:
    assert len(text_column([])) == len(text_column(pa.array([], pa.null()))) == 0
