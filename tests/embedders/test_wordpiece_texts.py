"""Texts tokenized word by word: what the tokenizer itself gives, id by id."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedders.export.packaged import packaged_minilm
from embedders.tokenization import TextTokenizer, load_tokenizer
from embedders.wordpiece_texts import LEAST_CHARACTERS, MEMO_WORDS, WordPieceTexts

ASCII = st.text(st.characters(max_codepoint=127), max_size=60)
MIXED = st.text(max_size=20)
# Few enough characters beyond ASCII for a text to be taken word by word.
SIGNS = st.one_of(
    st.text(max_size=2), st.sampled_from(["é", "“", "x\u00a0y", "\u200b", "日本", "e\u0301", "İ", "\u2028", "ﬁ"])
)
FEW_OTHERS = st.lists(SIGNS, max_size=5).map("Plain words, quite plain,ends so, and begin".join)
WORDS = st.lists(st.sampled_from(["The", "unbelievable", "[MASK]", "[SEP]x", "a_b", "é", "x" * 120, "1,000.5", "\t"]))
TEXTS = st.lists(st.one_of(ASCII, MIXED, FEW_OTHERS, WORDS.map(" ".join)), min_size=1, max_size=12)
FILLER = "plain words fill a text up " * (LEAST_CHARACTERS // 20)


@pytest.fixture(scope="module", params=[(64, "right"), (7, "right"), (7, "left"), (3, "right")], ids=str)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    length, side = request.param
    folder = tmp_path_factory.mktemp("minilm")
    for file in ("tokenizer.json", "special_tokens_map.json"):
        (folder / file).symlink_to(packaged_minilm() / file)
    given = {"model_max_length": 512, "truncation_side": side, "pad_token": "[PAD]"}
    return load_tokenizer(folder, max_length=length, defaults=given)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=TEXTS)
def test_ids_and_truncation_are_the_tokenizers(tokenizer: TextTokenizer, texts: list[str]) -> None:
    texts = [text.encode("utf-8", "replace").decode("utf-8") for text in [*texts, FILLER]]
    assert tokenizer._words is not None
    tokens = tokenizer.encode(texts)
    for row, encoding in enumerate(tokenizer.tokenizer.encode_batch(texts)):
        assert tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]].tolist() == encoding.ids
        assert tokens.truncated[row] == bool(encoding.overflowing)


@pytest.mark.parametrize("blank", ["", " \t\n", "\n"], ids=repr)
def test_a_blank_text_beside_a_long_one_of_other_letters_is_the_tokenizers(
    tokenizer: TextTokenizer, blank: str
) -> None:
    texts = ["é" * (LEAST_CHARACTERS + 1), blank]
    tokens = tokenizer.encode(texts)
    for row, encoding in enumerate(tokenizer.tokenizer.encode_batch(texts)):
        assert tokens.ids[tokens.offsets[row] : tokens.offsets[row + 1]].tolist() == encoding.ids


def test_texts_with_few_characters_beyond_ascii_are_taken_word_by_word(tokenizer: TextTokenizer) -> None:
    assert tokenizer._words is not None
    texts = [
        "the “naïve” café, so to say, is near the river and its old bridge",
        "日本 " + "and more words of ours " * 2,
        "日本語のテキスト",
        "a\ud800 b" * 9,
    ]
    assert tokenizer._words.known(texts).tolist() == [True, True, False, False]


def test_long_lists_and_a_full_memory_change_nothing(tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"word{number} and w{number % 7}" for number in range(2000)]
    expected = np.concatenate([encoding.ids for encoding in tokenizer.tokenizer.encode_batch(texts)])
    monkeypatch.setattr(f"{WordPieceTexts.__module__}.MEMO_WORDS", 100)
    assert MEMO_WORDS > 100
    for _ in range(2):
        np.testing.assert_array_equal(tokenizer.encode(texts).ids, expected)


def test_tokenizers_of_another_kind_have_no_words(synthetic_model: Callable[[str], Path]) -> None:
    folder = synthetic_model("BAAI/bge-m3")
    assert load_tokenizer(folder)._words is None
