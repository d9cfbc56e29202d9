"""What MUVERA reads: Arrow columns of every make, matrices with offsets, and rows that have no encoding."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedders import Muvera
from embedders.arrow import multivector_array, multivector_type

DIM = 8
MUVERA = Muvera(DIM, k_sim=3, dim_proj=4, r_reps=3)


def matrix(tokens: int, dtype: Any = np.float32) -> npt.NDArray[Any]:
    return np.random.default_rng(0).normal(size=(tokens, DIM)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8), data=st.data())
def test_columns_and_matrices_give_the_same(dtype: Any, lengths: list[int], data: Any) -> None:
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    tokens = matrix(offsets[-1], dtype)
    expected = MUVERA.encode_documents(tokens.astype(np.float32), offsets)
    column = multivector_array(offsets, tokens)
    large = column.cast(pa.large_list(column.type.value_type))
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(lengths))] * 2)))
    for array in (column, large):
        sliced = array.slice(start, stop - start)
        chunked = pa.chunked_array([array.slice(0, start), sliced, array.slice(stop)])
        for given_as, rows in ((array, slice(None)), (sliced, slice(start, stop)), (chunked, slice(None))):
            np.testing.assert_allclose(MUVERA.encode_documents(given_as), expected[rows], atol=1e-6)
            assert MUVERA.find_bad_rows(given_as) == {}
    # Tokens of a sliced buffer: the list's own offsets do not begin where the buffer does.
    inner = pa.concat_arrays([pa.array(matrix(3, dtype).tolist(), column.type.value_type), column.values]).slice(3)
    array = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), inner)
    np.testing.assert_allclose(MUVERA.encode_documents(array), expected, atol=1e-6)
    assert MUVERA.encode_documents(tokens, offsets.tolist()).shape == expected.shape


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_nothing_gives_no_vectors(dtype: Any) -> None:
    kind = multivector_type(DIM, dtype)
    for encoded in (
        MUVERA.encode_documents(pa.array([], kind)),
        MUVERA.encode_queries(pa.chunked_array([], kind)),
        MUVERA.encode_documents(np.empty((0, DIM), dtype), [0]),
    ):
        assert encoded.shape == (0, MUVERA.embedding_size) and encoded.dtype == np.float32
    assert MUVERA.find_bad_rows(pa.array([], kind)) == {}


def test_matrices_in_any_memory_order_are_read() -> None:
    tokens = matrix(20)
    expected = MUVERA.encode_documents(tokens, [0, 3, 20])
    wide = np.zeros((40, DIM * 2), np.float32)
    wide[::2, ::2] = tokens
    for same in (np.asfortranarray(tokens), wide[::2, ::2], tokens.astype(">f4")):
        np.testing.assert_allclose(MUVERA.encode_documents(same, [0, 3, 20]), expected, atol=1e-6)
    tokens.flags.writeable = False
    np.testing.assert_array_equal(MUVERA.encode_documents(tokens, np.array([0, 3, 20], np.uint32)), expected)


def bad_column(dtype: Any = np.float32) -> pa.Array:
    """Rows 0 good, 1 null, 2 empty, 3 NaN, 4 good, 5 infinity, 6 a null token, 7 a null number, 8 good."""
    good = [1.0] * DIM
    rows = [
        [good],
        None,
        [],
        [good, [np.nan] * DIM],
        [good, good],
        [[np.inf, *good[1:]]],
        [good, None],
        [[None, *good[1:]]],
        [good],
    ]
    return pa.array(rows, multivector_type(DIM, dtype))


BAD = {
    1: "null",
    2: "no tokens",
    3: "a token has NaN",
    5: "a token has NaN",
    6: "a token is null",
    7: "a token has NaN",
}


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("start", [0, 2, 3, 7, 8])
def test_bad_rows_are_found_in_slices_and_chunks(dtype: Any, start: int) -> None:
    column = bad_column(dtype)
    expected = {row - start: why for row, why in BAD.items() if row >= start}
    large = column.cast(pa.large_list(column.type.value_type))
    for array in (
        column.slice(start),
        large.slice(start),
        pa.chunked_array([column[start:4], column[max(start, 4) :]]),
    ):
        found = MUVERA.find_bad_rows(array)
        assert list(found) == list(expected)
        assert all(found[row].startswith(why) for row, why in expected.items())
    left = [row for row in range(len(column)) if row not in BAD]
    assert np.isfinite(MUVERA.encode_documents(column.take(left))).all()


@pytest.mark.parametrize("encode", [MUVERA.encode_documents, MUVERA.encode_queries])
def test_bad_rows_are_named_and_never_encoded(encode: Any) -> None:
    with pytest.raises(
        ValueError,
        match=r"cannot encode rows 1 \(null\), 2 \(no tokens\), 3 \(a token has NaN, infinity or .*find_bad_rows",
    ):
        encode(bad_column())
    with pytest.raises(ValueError, match=r"cannot encode row 1 \(a token has NaN"):
        encode(bad_column()[4:6])
    tokens = matrix(100_000)
    tokens[77_777, 3] = np.nan
    with pytest.raises(ValueError, match=r"cannot encode row 77777 \(a token has NaN"):
        encode(tokens, np.arange(100_001))
    # In the second part of a long document.
    with pytest.raises(ValueError, match=r"cannot encode row 1 \(a token has NaN"):
        encode(tokens, [0, 5, 100_000])
    tokens[:] = np.inf
    with pytest.raises(
        ValueError, match=r"rows 0 \(.*, 4 \(a token has NaN, infinity or a number above 1e19\) and 5 more: leave"
    ):
        encode(tokens[:10], np.arange(11))


def test_numbers_too_large_for_single_precision_are_found() -> None:
    tokens = matrix(3, np.float64)
    tokens[1, 0] = 1e300
    assert MUVERA.find_bad_rows(tokens, [0, 1, 2, 3]) == {1: "a token has NaN, infinity or a number above 1e19"}
    tokens[1, 0] = 1e15
    assert MUVERA.find_bad_rows(tokens, [0, 1, 2, 3]) == {}
    assert np.isfinite(MUVERA.encode_documents(tokens, [0, 1, 2, 3])).all()


def test_bad_matrices_are_named() -> None:
    for vectors, message in (
        (np.empty((0, DIM), np.float32), r"cannot encode row 0 \(no tokens\)"),
        (np.full((2, DIM), np.nan), r"cannot encode row 0 \(a token has NaN"),
        (matrix(2)[0], r"must be a matrix of \(tokens, 8\), got the shape \(8,\)"),
        (matrix(2)[:, :5], r"must be a matrix of \(tokens, 8\), got the shape \(2, 5\)"),
        (np.ones((2, DIM), np.int64), "must be float16, float32 or float64, got int64"),
        (np.float32(1), "must be"),
    ):
        for process in (MUVERA.process_document, MUVERA.process_query, MUVERA.process):
            with pytest.raises((ValueError, TypeError), match=message):
                process(vectors)
    with pytest.raises(TypeError, match=r"vectors must be a NumPy matrix of \(tokens, 8\), got list"):
        MUVERA.process([[1.0] * DIM])  # type: ignore[arg-type]


def test_offsets_that_do_not_fit_are_refused() -> None:
    for offsets, message in (
        (None, "needs offsets"),
        ([], "one whole number more than documents, got float64 of the shape"),
        ([[0, 5]], r"one whole number more than documents, got int64 of the shape \(1, 2\)"),
        ([0.0, 5.0], "one whole number more than documents, got float64"),
        ([1, 5], "begin at 0 and end at the 5 tokens, got 1 and 5"),
        ([0, 4], "begin at 0 and end at the 5 tokens, got 0 and 4"),
        ([0, 4, 3, 5], r"must not fall, but offsets\[1\] is 4 and offsets\[2\] 3"),
    ):
        with pytest.raises(ValueError, match=message):
            MUVERA.encode_documents(matrix(5), offsets)
        with pytest.raises(ValueError, match=message):
            MUVERA.find_bad_rows(matrix(5), offsets)


def test_columns_of_another_type_are_refused() -> None:
    for column, message in (
        (pa.array([[1.0, 2.0]]), r"is list<fixed_size_list<float>\[8\]>, got list<item: double>"),
        (pa.array([[[1.0] * DIM]]), r"got list<item: list<item: double>>"),
        (pa.array([[[1] * DIM]], pa.list_(pa.list_(pa.int32(), DIM))), "got list<item: fixed_size_list<item: int32>"),
        (pa.array([[1.0] * DIM], pa.list_(pa.float32(), DIM)), "got fixed_size_list"),
        (pa.array([[[1.0] * 3]], multivector_type(3)), "token vectors have 3 numbers, not 8"),
    ):
        with pytest.raises(ValueError, match=message):
            MUVERA.encode_documents(column)
    with pytest.raises(ValueError, match="an Arrow column has its own offsets"):
        MUVERA.encode_documents(bad_column(), [0, 1])
    with pytest.raises(TypeError, match="a column of multivectors or a NumPy matrix with offsets, got list"):
        MUVERA.encode_documents([matrix(3)])  # type: ignore[arg-type]
