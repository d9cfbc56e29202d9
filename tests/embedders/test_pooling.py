from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedders.catalog import Pooling
from embedders.errors import ModelFilesError
from embedders.pooling import l2_normalize, pool


def tokens_and_mask(lengths: list[int], side: str = "right") -> tuple[np.ndarray, np.ndarray]:
    width = max(lengths)
    tokens = np.random.default_rng(len(lengths)).normal(size=(len(lengths), width, 5)).astype(np.float32)
    columns = np.arange(width)
    ends = np.array(lengths)[:, None]
    return tokens, columns < ends if side == "right" else columns >= width - ends


@given(st.lists(st.integers(1, 300), min_size=1, max_size=8), st.sampled_from(["left", "right"]))
def test_mean_is_the_float64_mean_of_the_real_tokens(lengths: list[int], side: str) -> None:
    tokens, mask = tokens_and_mask(lengths, side)
    pooled = pool(tokens, mask, "mean", normalize=False)
    expected = [row[keep].astype(np.float64).mean(axis=0) for row, keep in zip(tokens, mask, strict=True)]
    np.testing.assert_allclose(pooled, expected, atol=2e-6)
    assert pooled.dtype == np.float32


def test_mean_ignores_what_the_graph_left_at_padding() -> None:
    tokens, mask = tokens_and_mask([2, 5])
    clean = pool(tokens, mask, "mean", normalize=True)
    tokens[0, 2:] = np.nan
    tokens[0, 4] = np.inf
    np.testing.assert_allclose(pool(tokens, mask, "mean", normalize=True), clean, atol=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_last_token_is_the_last_real_one(side: str) -> None:
    tokens, mask = tokens_and_mask([3, 6, 1], side)
    expected = [row[keep][-1] for row, keep in zip(tokens, mask, strict=True)]
    np.testing.assert_array_equal(pool(tokens, mask, "last_token", normalize=False), expected)


@pytest.mark.parametrize("side", ["left", "right"])
def test_cls_is_the_first_real_token_and_passes_pooled_outputs_on(side: str) -> None:
    tokens, mask = tokens_and_mask([3, 6, 1], side)
    expected = [row[keep][0] for row, keep in zip(tokens, mask, strict=True)]
    np.testing.assert_array_equal(pool(tokens, mask, "cls", normalize=False), expected)
    np.testing.assert_array_equal(pool(tokens[:, 1], mask, "cls", normalize=False), tokens[:, 1])


@pytest.mark.parametrize(("pooling", "axes"), [("none", 3), ("mean", 2), ("last_token", 2), ("cls", 4)])
def test_refuses_an_output_that_the_pooling_cannot_take(pooling: Pooling, axes: int) -> None:
    with pytest.raises(ModelFilesError, match="shape"):
        pool(np.ones((2,) * axes, np.float32), np.ones((2, 2), bool), pooling, normalize=False)


def test_normalized_rows_have_length_one_and_zeros_stay() -> None:
    unit = l2_normalize(np.array([[3, 4], [0, 0], [1e-20, 0]], np.float32))
    np.testing.assert_allclose(unit, [[0.6, 0.8], [0, 0], [1e-8, 0]], atol=1e-7)


def test_float16_norms_do_not_overflow_and_the_dtype_stays() -> None:
    pooled = pool(np.full((1, 4), 60000, np.float16), np.ones((1, 1), bool), "none", normalize=True)
    assert pooled.dtype == np.float16
    np.testing.assert_allclose(pooled, 0.5, atol=1e-3)
