from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embedders import TextEmbedding
from embedders.length_counts import LONGEST, count_lengths


@given(st.lists(st.integers(0, 300_000)), st.lists(st.integers(0, 300_000)))
def test_each_text_is_in_the_bin_that_its_length_fits_and_counts_add_up(some: list[int], more: list[int]) -> None:
    edges = [0, *(LONGEST[:-1] + 1), 1 << 62]
    expected, _ = np.histogram(some, bins=np.array(edges))
    assert count_lengths(np.array(some, np.int64)).tolist() == expected.tolist()
    both = count_lengths(np.array(some + more, np.int64))
    assert (count_lengths(np.array(some, np.int64)) + count_lengths(np.array(more, np.int64))).tolist() == both.tolist()


def test_a_models_counters_tell_the_lengths_of_its_texts_each_copy_of_one_too(minilm: Path) -> None:
    texts = ["a short text", "word " * 20, "word " * 20, "word " * 900]
    model = TextEmbedding("sentence-transformers/all-MiniLM-L6-v2", specific_model_path=str(minilm), max_length=128)
    list(model.embed(texts))
    counts = model.stats.length_counts
    assert {int(LONGEST[at]): int(counts[at]) for at in np.flatnonzero(counts)} == {5: 1, 24: 2, 128: 1}
    assert (model.stats.rows, model.stats.truncated) == (4, 1)
