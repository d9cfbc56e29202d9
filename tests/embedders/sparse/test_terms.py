from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from py_rust_stemmers import SnowballStemmer

from embedders.sparse.terms import DROPPED, TermIds, stem_function, term_id


class Chopper:
    """Keeps a word's first four letters; drops words on x."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def stem_word(self, word: str) -> str:
        self.seen.append(word)
        return "" if word.startswith("x") else word[:4]


def test_known_ids_of_words() -> None:
    assert [term_id(word) for word in ("hello", "world", "fear", "embed", "")] == [
        613153351,
        74040069,
        1432942394,
        959644756,
        0,
    ]


def test_stop_words_overlong_words_and_empty_stems_are_dropped() -> None:
    terms = TermIds(stem_function(Chopper()), {"the"}, max_length=6)
    words = ["the", "The", "abcdef", "abcdefg", "xyz", "ABCDéé"]
    abcd = term_id("abcd")
    assert terms.ids(words).tolist() == [DROPPED, DROPPED, abcd, DROPPED, DROPPED, abcd]


def test_a_word_is_stemmed_once_across_calls() -> None:
    stemmer = Chopper()
    terms = TermIds(stem_function(stemmer), set(), max_length=40)
    first = terms.ids(["tables", "chairs"])
    second = terms.ids(["chairs", "lamps", "tables"])
    assert second.tolist() == [first[1], term_id("lamp"), first[0]]
    assert stemmer.seen == ["tables", "chairs", "lamps"]


@given(st.lists(st.lists(st.text(alphabet="abx", min_size=1, max_size=4), unique=True), max_size=8), st.integers(0, 9))
def test_ids_do_not_depend_on_how_much_is_remembered(calls: list[list[str]], memo_words: int) -> None:
    small = TermIds(stem_function(Chopper()), {"a"}, max_length=3, memo_words=memo_words)
    for words in calls:
        fresh = TermIds(stem_function(Chopper()), {"a"}, max_length=3)
        assert small.ids(words).tolist() == fresh.ids(words).tolist()


def test_what_is_remembered_is_bounded() -> None:
    stemmer = Chopper()
    terms = TermIds(stem_function(stemmer), set(), max_length=40, memo_words=10)
    terms.ids(["first"])
    for number in range(20):
        terms.ids([f"w{number}"])
    terms.ids(["first"])
    assert stemmer.seen.count("first") == 2


def test_threads_may_share_a_small_memory() -> None:
    words = [f"w{number}ing" for number in range(300)]
    stem = stem_function(SnowballStemmer("english"))
    expected = TermIds(stem, set(), max_length=40).ids(words)
    terms = TermIds(stem, set(), max_length=40, memo_words=150)
    with ThreadPoolExecutor(4) as pool:
        parts = [words[i : i + 50] for i in range(0, 300, 50)] * 40
        found = list(pool.map(terms.ids, parts))
    np.testing.assert_array_equal(np.concatenate(found), np.tile(expected, 40))


def test_a_stemmers_own_call_for_many_words_gives_what_stem_word_gives() -> None:
    stemmer = SnowballStemmer("german")
    words = ["häuser", "laufenden", "möglichkeiten"]
    assert stem_function(stemmer)(words) == [stemmer.stem_word(word) for word in words]
    assert stem_function(None)(words) == words
