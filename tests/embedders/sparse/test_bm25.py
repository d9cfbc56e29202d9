from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from fastembed.sparse.bm25 import Bm25 as ReferenceBm25
from hypothesis import given, settings
from hypothesis import strategies as st
from py_rust_stemmers import SnowballStemmer

from embedders.api.sparse_embedding import SparseEmbedding
from embedders.api.sparse_text_embedding import SparseTextEmbedding
from embedders.arrow import SPARSE_TYPE
from embedders.sparse.terms import term_id

TRICKY = [
    "",
    "  \n\t ",
    "the and of is",
    "👍🏽 great 👩‍👩‍👧 family 🇩🇪",
    "联合国人权宣言 第一条。人人生而自由",
    "والكتاب المدرسة، السَّلامُ عليكم",
    "e\u0301cole école ñandú A\u030angström",
    "İstanbul DİYARBAKIR ısparta",
    "world_under _private __init__ _ __",
    "x" * 40 + " " + "y" * 41 + " " + "z" * 60 + " short",
    "tab\there\0nul\x1bescape\x85next\u2028line\ufeffbom",
    "don't 3.14 U.S.A. e-mail C++ naïve ΟΔΥΣΣΕΥΣ ΑΣ.Α ẞ ﬁ ǅ K",
    "repeated " * 3000 + "once",
]


def as_sets(vectors: list[SparseEmbedding]) -> list[dict[int, float]]:
    return [pytest.approx(vector.as_dict(), abs=1e-6) for vector in vectors]


def sets(embedder: object, texts: list[str], method: str = "embed") -> list[dict[int, float]]:
    return [vector.as_dict() for vector in getattr(embedder, method)(texts)]


@pytest.fixture(scope="module")
def make(stopword_folder: Path) -> Callable[..., SparseTextEmbedding]:
    return lambda **options: SparseTextEmbedding("Qdrant/bm25", specific_model_path=stopword_folder, **options)


@pytest.fixture(scope="module")
def english(make: Callable[..., SparseTextEmbedding]) -> SparseTextEmbedding:
    return make()


@pytest.fixture(scope="module")
def reference(stopword_folder: Path) -> ReferenceBm25:
    return ReferenceBm25("Qdrant/bm25", specific_model_path=str(stopword_folder))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["embed", "query_embed"])
def test_real_texts_give_fastembeds_vectors(
    english: SparseTextEmbedding, reference: ReferenceBm25, docstrings: list[str], method: str
) -> None:
    assert len(docstrings) > 1000
    assert sets(english, docstrings, method) == as_sets(list(getattr(reference, method)(docstrings)))


@pytest.mark.parametrize("method", ["embed", "query_embed"])
def test_tricky_texts_give_fastembeds_vectors(
    english: SparseTextEmbedding, reference: ReferenceBm25, method: str
) -> None:
    assert sets(english, TRICKY, method) == as_sets(list(getattr(reference, method)(TRICKY)))


@settings(max_examples=200)
@given(texts=st.lists(st.text() | st.text(alphabet="the runs_ing.Éİı’\u0307"), max_size=8))
def test_any_texts_give_fastembeds_vectors(
    english: SparseTextEmbedding, reference: ReferenceBm25, texts: list[str]
) -> None:
    texts = [text for text in texts if not ("İ" in text and "Σ" in text)]
    assert sets(english, texts) == as_sets(list(reference.embed(texts)))


@pytest.mark.parametrize(
    "options",
    [
        {"k": 2.0, "b": 0.3, "avg_len": 40.0},
        {"k": 0.0, "b": 0.0},
        {"language": "german"},
        {"language": "russian"},
        {"language": "tamil"},
        {"disable_stemmer": True},
        {"disable_stemmer": True, "stopwords": {"Python", "the"}},
        {"disable_stemmer": True, "language": "klingon"},
        {"stopwords": set()},
        {"stemmer": SnowballStemmer("french"), "language": "french"},
        {"stemmer": SnowballStemmer("english"), "language": "klingon"},
        {"token_max_length": 5},
    ],
    ids=", ".join,
)
def test_options_mean_what_they_mean_to_fastembed(
    make: Callable[..., SparseTextEmbedding], stopword_folder: Path, docstrings: list[str], options: dict[str, object]
) -> None:
    theirs = ReferenceBm25("Qdrant/bm25", specific_model_path=str(stopword_folder), **options)
    texts = TRICKY + docstrings[:200]
    assert sets(make(**options), texts) == as_sets(list(theirs.embed(texts)))


def test_all_reference_rows_of_nine_languages(shared_data: Path) -> None:
    path = shared_data / "reference-vectors" / "bm25_fastembed091_reference.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 356
    nltk = shared_data / "stopwords" / "nltk"
    for language in {row["lang"] for row in rows}:
        embedder = SparseTextEmbedding("Qdrant/bm25", specific_model_path=nltk, language=language)
        for kind, method in (("doc", "embed"), ("query", "query_embed")):
            mine = [row for row in rows if row["lang"] == language and row["kind"] == kind]
            expected = [pytest.approx(dict(zip(row["indices"], row["values"], strict=True)), abs=1e-6) for row in mine]
            assert sets(embedder, [row["text"] for row in mine], method) == expected


def test_worked_example(english: SparseTextEmbedding) -> None:
    (vector,) = english.embed("hello world hello")
    assert vector.indices.tolist() == [74040069, 613153351]
    assert vector.values == pytest.approx([1.67868852, 1.90431107])
    (query,) = english.query_embed("hello world hello")
    assert query.as_dict() == {74040069: 1.0, 613153351: 1.0}


def test_stems_of_one_hash_add_up(make: Callable[..., SparseTextEmbedding]) -> None:
    assert term_id("w30181") == term_id("w38066")
    embedder = make(stopwords=set())
    collided, same = embedder.embed(["w30181 w38066 other", "w30181 w30181 other"])
    assert collided.as_dict() == same.as_dict()
    assert len(collided.indices) == 2


@pytest.mark.parametrize("batch_size", [1, 7, 5000])
def test_vectors_do_not_depend_on_the_batch(
    make: Callable[..., SparseTextEmbedding], english: SparseTextEmbedding, docstrings: list[str], batch_size: int
) -> None:
    texts = TRICKY + docstrings[:300]
    found = list(make().embed(texts, batch_size=batch_size))
    assert len(found) == len(texts)
    for mine, expected in zip(found, english.embed(texts), strict=True):
        np.testing.assert_array_equal(mine.indices, expected.indices)
        np.testing.assert_array_equal(mine.values, expected.values)


def test_texts_larger_than_a_slice_keep_their_rows(english: SparseTextEmbedding) -> None:
    texts = ["alpha " * 200_000, "beta", "gamma " * 200_000 + "Ж" * 50, "", "delta"]
    rows = sets(english, texts)
    assert [set(row) for row in rows] == [
        {term_id(word)} if word else set() for word in ("alpha", "beta", "gamma", "", "delta")
    ]
    assert rows[0][term_id("alpha")] == pytest.approx(2.2 * 2e5 / (2e5 + 1.2 * (0.25 + 0.75 * 2e5 / 256)))


def test_temporary_memory_does_not_grow_with_the_number_of_texts(english: SparseTextEmbedding) -> None:
    texts = ["naïve alpha beta gamma " * 20_000] * 80
    column = pa.array(texts)
    tracemalloc.start()
    try:
        english.embed_arrow(column)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < column.nbytes


def test_column_for_the_pipeline(english: SparseTextEmbedding) -> None:
    column = english.embed_arrow(pa.chunked_array([["hello world hello"], ["", "the"]]))
    column.validate(full=True)
    assert column.type == SPARSE_TYPE == english.spec.arrow_type
    assert column.null_count == 0
    assert [len(row["indices"]) for row in column.to_pylist()] == [2, 0, 0]
    queries = english.embed_queries_arrow(["hello hello"])
    assert queries.to_pylist() == [{"indices": [613153351], "values": [1.0]}]
    assert len(english.embed_arrow([])) == 0
    assert english.embed_arrow([]).type == SPARSE_TYPE


def test_spec_asks_for_idf_and_dot_product(english: SparseTextEmbedding) -> None:
    assert (english.spec.kind, english.spec.distance, english.spec.idf, english.spec.dim) == (
        "sparse",
        "dot",
        True,
        None,
    )


def test_counters_add_up(make: Callable[..., SparseTextEmbedding]) -> None:
    embedder = make()
    embedder.embed_arrow(["the quick brown fox", ""])
    embedder.embed_queries_arrow(["jumps over"])
    stats = embedder.stats
    assert (stats.rows, stats.tokens, stats.padded_tokens, stats.padding_waste) == (3, 4, 4, 0.0)
    assert stats.tokenize_seconds > 0
    assert stats.model_seconds > 0


class Upper:
    def stem_word(self, word: str) -> str:
        return word.upper()


class Chop:
    def __init__(self, length: int) -> None:
        self.length = length

    def stem_word(self, word: str) -> str:
        return word[: self.length]


def test_fingerprint_tells_apart_what_changes_vectors(make: Callable[..., SparseTextEmbedding], tmp_path: Path) -> None:
    (tmp_path / "english.txt").write_text("the\n")
    others = [
        {"k": 1.3},
        {"b": 0.7},
        {"avg_len": 200.0},
        {"language": "german"},
        {"token_max_length": 41},
        {"disable_stemmer": True},
        {"stopwords": set()},
        {"stopwords": {"the"}},
        {"stemmer": SnowballStemmer("french")},
        {"stemmer": Upper()},
        {"stemmer": Chop(4)},
        {"stemmer": Chop(5)},
    ]
    prints = [make().fingerprint, *(make(**options).fingerprint for options in others)]
    assert len(set(prints)) == len(prints)
    from_file = SparseTextEmbedding("Qdrant/bm25", specific_model_path=tmp_path)
    assert from_file.fingerprint == make(stopwords={"The"}).fingerprint


def test_fingerprint_is_the_same_wherever_the_words_come_from(
    make: Callable[..., SparseTextEmbedding], empty_cache: Path
) -> None:
    packaged = SparseTextEmbedding("Qdrant/bm25", cache_dir=empty_cache)
    assert packaged.fingerprint == make().fingerprint
    assert len(packaged.fingerprint) == 64
    assert make(k=np.float64(1.2), avg_len=256).fingerprint == make().fingerprint
    assert make(stemmer=SnowballStemmer("english")).fingerprint == make().fingerprint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": -1.0}, "k must be at least 0"),
        ({"k": float("nan")}, "k must be at least 0"),
        ({"b": 1.5}, "b must be between 0 and 1"),
        ({"k": float("inf")}, "k must be a finite number"),
        ({"avg_len": 0.0}, "avg_len must be more than 0"),
        ({"avg_len": float("inf")}, "avg_len must be a finite number"),
        ({"avg_len": float("nan")}, "avg_len must be more than 0"),
        ({"token_max_length": 0}, "token_max_length must be at least 1"),
        (
            {"language": "klingon"},
            "'klingon' has no stemmer here: set disable_stemmer to true, .* take one of .*swedish",
        ),
        ({"stemmer": Upper(), "disable_stemmer": True}, "exclude each other"),
    ],
)
def test_options_that_cannot_be_are_refused(
    make: Callable[..., SparseTextEmbedding], options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_options_of_another_type_are_refused(make: Callable[..., SparseTextEmbedding]) -> None:
    with pytest.raises(TypeError, match="must be a set of words"):
        make(stopwords="the")
    with pytest.raises(
        TypeError, match="stemmer must be an object with stem_word, which only Python can give; got 'th'"
    ):
        make(stemmer="th")


def test_one_bad_text_is_named_and_costs_nothing_later(make: Callable[..., SparseTextEmbedding]) -> None:
    embedder = make()
    with pytest.raises(ValueError, match=r"text 1 holds the lone surrogate U\+DC80 at character 3"):
        embedder.embed_arrow(["fine", "bad\udc80"])
    assert embedder.stats.rows == 0
    assert len(embedder.embed_arrow(["fine"])) == 1
