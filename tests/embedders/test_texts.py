from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedders.texts import DistinctTexts, check_batch_size, take_lists, text_list
from embedders.token_vectors import TokenVectors

TEXTS = st.lists(st.sampled_from(["", "a", "b", "ab", "é"]), max_size=12)


@settings(deadline=None)
@given(TEXTS)
def test_results_of_distinct_texts_come_back_for_all_texts_in_their_order(texts: list[str]) -> None:
    distinct = DistinctTexts.of(texts)
    assert distinct.texts == list(dict.fromkeys(texts))
    codes = [float(sum(map(ord, text))) for text in distinct.texts]
    matrix = np.array(codes).reshape(-1, 1) * [1, 2]
    expected = [float(sum(map(ord, text))) for text in texts]
    assert distinct.for_all(matrix).tolist() == [[code, 2 * code] for code in expected]
    assert distinct.for_all(pa.array(codes, pa.float64())).to_pylist() == expected
    # One token a letter.
    ends = np.concatenate(([0], np.cumsum([len(text) for text in distinct.texts], dtype=np.int64)))
    letters = np.array([[float(ord(letter))] for letter in "".join(distinct.texts)]).reshape(-1, 1)
    matrices = [matrix.ravel().tolist() for matrix in distinct.for_all(TokenVectors(letters, ends))]
    assert matrices == [[float(ord(letter)) for letter in text] for text in texts]


def test_texts_without_repetitions_are_not_copied() -> None:
    matrix = np.ones((2, 3), np.float32)
    assert DistinctTexts.of(["b", "a"]).for_all(matrix) is matrix


def test_what_cannot_be_told_apart_is_refused() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        DistinctTexts.of(["a", ["b"]])  # type: ignore[list-item]


def test_columns_and_sequences_are_read_as_lists_and_one_text_is_refused() -> None:
    for texts in (["a", "b"], ("a", "b"), pa.array(["a", "b"]), pa.chunked_array([["a"], ["b"]])):
        assert text_list(texts) == ["a", "b"]
    with pytest.raises(TypeError, match="not one str; wrap it in a list"):
        text_list("ab")


def test_iterables_are_cut_into_lists_as_they_are_asked_for() -> None:
    items = iter("abcde")
    lists = take_lists(items, 2)
    assert next(lists) == ["a", "b"]
    assert next(items) == "c"
    assert list(lists) == [["d", "e"]]
    assert list(take_lists("ab", 3)) == [["ab"]]
    assert list(take_lists(pa.array(["a", "b", "c"]), 2)) == [["a", "b"], ["c"]]


@pytest.mark.parametrize("size", [0, -1])
def test_sizes_below_one_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size must be 1 or more, got {size}"):
        check_batch_size(size)
    with pytest.raises(ValueError, match=f"batch_size must be 1 or more, got {size}"):
        next(take_lists(["a"], size))
