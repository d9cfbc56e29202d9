from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fastembed import SparseTextEmbedding as FastembedSparse
from py_rust_stemmers import SnowballStemmer

from embedders import ModelFilesError, SparseTextEmbedding
from embedders.sparse.terms import term_id
from tests.synthetic_models import MEANINGFUL

NAME = "Qdrant/minicoil-v1"
# One bucket of 32,000 is enough for the synthetic vocabulary, and one stays empty.
SHIFT = 64_000
SPAN = 2**31 - 1 - SHIFT


@pytest.fixture(scope="module")
def folder(synthetic_model: Callable[[str], Path]) -> Path:
    return synthetic_model(NAME)


@pytest.fixture(scope="module")
def model(folder: Path) -> SparseTextEmbedding:
    return SparseTextEmbedding(NAME, specific_model_path=folder, cuda=False, threads=1)


@pytest.fixture(scope="module")
def reference(folder: Path) -> FastembedSparse:
    return FastembedSparse(NAME, specific_model_path=str(folder), cuda=False, threads=1)


def block(word: str) -> set[int]:
    """Indices of a word of the vocabulary: ids count from 1."""
    number = MEANINGFUL.index(word) + 1
    return {4 * number + place for place in range(4)}


def unknown(word: str) -> int:
    return SHIFT + term_id(SnowballStemmer("english").stem_word(word)) % SPAN


def frequency_part(count: int, length: int, k: float = 1.2, b: float = 0.75, avg_len: float = 150.0) -> float:
    return count * (k + 1) / (count + k * (1 - b + b * length / avg_len))


def weight(vector: dict[int, float], word: str) -> float:
    return float(np.linalg.norm([vector[index] for index in block(word)]))


def test_synthetic_words_of_the_vocabulary_have_four_dimensions_and_others_one(model: SparseTextEmbedding) -> None:
    (vector,) = (v.as_dict() for v in model.embed("bats and a cave, hello"))
    assert vector.keys() == block("bat") | block("cave") | {unknown("hello")}
    assert vector[unknown("hello")] == pytest.approx(frequency_part(1, 3))
    assert weight(vector, "bat") == pytest.approx(frequency_part(1, 3))


def test_synthetic_queries_are_not_weighed_by_frequency(model: SparseTextEmbedding) -> None:
    (vector,) = (v.as_dict() for v in model.query_embed("bat bat bat hello hello"))
    assert weight(vector, "bat") == pytest.approx(1)
    assert vector[unknown("hello")] == 1


def test_synthetic_unknown_word_that_cleans_to_a_known_one_counts_as_it(
    model: SparseTextEmbedding, reference: FastembedSparse
) -> None:
    """The word "bat°" is not in the vocabulary, and falls apart into "bat", which is, and stands in the text."""
    text = "bat bat° cave°bat river"
    (vector,) = (v.as_dict() for v in model.embed(text))
    assert vector.keys() == block("bat") | block("river") | {unknown("cave")}
    assert weight(vector, "bat") == pytest.approx(frequency_part(3, 5))
    assert vector == pytest.approx(next(iter(reference.embed(text))).as_dict(), abs=1e-5)
    # Without the known word in the text, both parts are unknown ones.
    (apart,) = (v.as_dict() for v in model.embed("cave°bat river"))
    assert apart.keys() == {unknown("bat"), unknown("cave")} | block("river")


def test_synthetic_stop_words_punctuation_and_special_tokens_have_no_weight(model: SparseTextEmbedding) -> None:
    (vector,) = (v.as_dict() for v in model.embed("the bat, [MASK] of ... [SEP] a ° river!"))
    assert vector.keys() == block("bat") | block("river")


@pytest.mark.parametrize("options", [{"k": 2.0}, {"b": 0.2}, {"avg_len": 20.0}, {"k": 0.5, "b": 1.0, "avg_len": 3.0}])
def test_synthetic_options_of_bm25_work_as_fastembeds(options: dict[str, float], folder: Path) -> None:
    texts = ["bat bat cave hello hello hello", "river", "money bank of the river " * 6]
    ours = SparseTextEmbedding(NAME, specific_model_path=folder, cuda=False, **options)
    reference = FastembedSparse(NAME, specific_model_path=str(folder), cuda=False, **options)
    for own, expected in zip(ours.embed(texts), reference.embed(texts), strict=True):
        assert own.as_dict() == pytest.approx(expected.as_dict(), abs=1e-5)


@pytest.mark.parametrize("texts", [["hello"], ["", "the"], ["hello world", "[MASK]", "xyz"]], ids=str)
def test_synthetic_texts_without_a_known_word_are_embedded(
    texts: list[str], model: SparseTextEmbedding, reference: FastembedSparse
) -> None:
    for own, expected in zip(model.embed(texts), reference.embed(texts), strict=True):
        assert own.as_dict() == pytest.approx(expected.as_dict(), abs=1e-5)
    for own, expected in zip(model.query_embed(texts), reference.query_embed(texts), strict=True):
        assert own.as_dict() == pytest.approx(expected.as_dict(), abs=1e-5)


@pytest.mark.parametrize("options", [{"k": -1}, {"b": 1.5}, {"avg_len": 0}, {"avg_len": float("inf")}])
def test_options_out_of_range_are_refused(options: dict[str, float], folder: Path) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        SparseTextEmbedding(NAME, specific_model_path=folder, lazy_load=True, **options)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("stopwords.txt", None),
        ("minicoil.triplet.model.npy", None),
        ("minicoil.triplet.model.npy", b"no array"),
        ("minicoil.triplet.model.vocab", None),
        ("minicoil.triplet.model.vocab", b"[]"),
    ],
)
def test_missing_and_damaged_files_are_named(name: str, content: bytes | None, folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_bytes(content)
    with pytest.raises(ModelFilesError, match=name):
        SparseTextEmbedding(NAME, specific_model_path=copy, cuda=False)


def test_files_that_do_not_belong_together_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / "minicoil.triplet.model.vocab"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "vocab": [*facts["vocab"], "extra"]}))
    with pytest.raises(ModelFilesError, match="do not belong together"):
        SparseTextEmbedding(NAME, specific_model_path=copy, cuda=False)
