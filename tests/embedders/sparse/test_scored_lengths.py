"""Lengths that the average of a corpus is made of: those that the weights of documents are reckoned with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fastembed.sparse.bm25 import Bm25 as ReferenceBm25
from fastembed.sparse.utils.tokenizer import SimpleTokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from embedders.base import LengthMeasuring
from embedders.factory import make_embedder
from tests.embedders.sparse.test_bm25 import TRICKY

MARKER = "zebra"
# The weight of a term that stands once is 2 / (1 + length) then.
TELLING = {"k": 1.0, "b": 1.0, "avg_len": 1.0}


def measuring(name: str, folder: Path, **options: float) -> Any:
    made = make_embedder(name, specific_model_path=folder, lazy_load=True, **options)
    assert isinstance(made, LengthMeasuring)
    return made


@pytest.fixture(scope="module")
def bm25(stopword_folder: Path) -> Any:
    return measuring("Qdrant/bm25", stopword_folder, **TELLING)


@pytest.fixture(scope="module")
def minicoil(synthetic_model: Callable[[str], Path]) -> Any:
    return measuring("Qdrant/minicoil-v1", synthetic_model("Qdrant/minicoil-v1"), **TELLING)


def lengths_in_weights(model: Any, texts: list[str]) -> list[int]:
    """Lengths by the weight of a word that is in each text once; the word itself is not counted."""
    marked = model.embed_arrow([f"{text} {MARKER}" for text in texts])
    (marker,) = model.embed_arrow([MARKER])[0].as_py()["indices"]
    rows = [dict(zip(row["indices"], row["values"], strict=True)) for row in marked.to_pylist()]
    return [round(2 / row[marker] - 1) - 1 for row in rows]


def test_lengths_are_those_of_fastembeds_bm25(bm25: Any, stopword_folder: Path, docstrings: list[str]) -> None:
    reference = ReferenceBm25("Qdrant/bm25", specific_model_path=str(stopword_folder))
    texts = [*docstrings[:800], *(text for text in TRICKY if "Σ" not in text)]
    words = [SimpleTokenizer.tokenize(text) for text in texts]
    assert bm25.scored_lengths(texts).tolist() == [len(reference._stem(some)) for some in words]


def test_lengths_are_those_in_the_weights(bm25: Any, docstrings: list[str]) -> None:
    texts = [text for text in [*docstrings[:200], *TRICKY] if MARKER not in text]
    measured = bm25.scored_lengths(texts)
    assert measured.dtype == np.int64
    assert measured.tolist() == lengths_in_weights(bm25, texts)


@settings(max_examples=50)
@given(texts=st.lists(st.text() | st.text(alphabet="the runs_ing.Éİı’\u0307"), max_size=8))
def test_lengths_of_any_texts_do_not_depend_on_their_neighbours(bm25: Any, texts: list[str]) -> None:
    together = bm25.scored_lengths(texts).tolist()
    assert together == [int(bm25.scored_lengths([text])[0]) for text in texts]
    assert together == bm25.scored_lengths(pa.array(texts, pa.large_string())).tolist()


def test_stop_words_overlong_words_and_punctuation_do_not_count(bm25: Any) -> None:
    rows = bm25.stats.rows
    text = f"The cats are running, and {'x' * 41} _ ..."
    assert bm25.scored_lengths([text, "", "the of"]).tolist() == [2, 0, 0]
    assert bm25.token_count([text]) == 7
    assert bm25.stats.rows == rows


def test_synthetic_minicoil_lengths_are_those_in_the_weights(minicoil: Any) -> None:
    texts = ["bats and a cave, hello", "the bat, [MASK] of ... a ° river!", "bat bat° cave°bat", "", "hello " * 20]
    assert minicoil.scored_lengths(texts).tolist() == lengths_in_weights(minicoil, texts) == [3, 2, 4, 0, 20]


def test_synthetic_minicoil_counts_within_its_limit_and_runs_no_network(
    synthetic_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = measuring("Qdrant/minicoil-v1", synthetic_model("Qdrant/minicoil-v1"), max_length=12)
    assert model.scored_lengths(["river " * 50, "river bat"]).tolist() == [10, 2]
    assert "session" not in vars(model.text_model)
    assert model.stats.rows == 0


@pytest.mark.parametrize("name", ["bm25", "minicoil"])
def test_what_is_no_text_is_refused_by_its_place(name: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(name)
    for bad in (None, "\ud800"):
        with pytest.raises((TypeError, ValueError), match="text 1"):
            model.scored_lengths(["fine", bad])
    assert model.scored_lengths([]).tolist() == []
