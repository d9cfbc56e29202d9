from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastembed.common.preprocessor_utils import load_tokenizer as load_reference
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, processors

from embedders.errors import ModelFilesError
from embedders.tokenization import SMALLEST_CUT, Limits, TextTokenizer, load_tokenizer
from embedders.tokenized_texts import Padding
from tests.model_fixtures import write_tokenizer

TEXTS = [
    "",
    "hello",
    "Hello World, the quick brown fox!",
    "embedding " * 40,
    "paris 🎉",
    "東京",
    "e\u0301a",
    "مرحبا",
    "\u200b",
]

VARIANTS: list[dict[str, Any]] = [
    {},
    {"limit": 8},
    {"limit": 8, "max_length": 6},
    {"padding_side": "left", "limit": 16},
    {"truncation_side": "left", "limit": 9},
    {"model_max_length": 1e30, "max_length": 12},
    {"special_map": {"pad_token": "[PAD]", "x": {"content": "fox", "lstrip": False}, "more": ["the", "paris"]}},
    {"special_map": {"pad_token": "<new>"}, "pad_token": "<new>"},
]


def encode_all(tokenizer: TextTokenizer, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    tokens = tokenizer.encode(texts)
    padded = tokens.padded(np.arange(len(texts)))
    return padded.ids, padded.real


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_ids_and_padding_equal_fastembeds(variant: dict[str, Any], tmp_path: Path) -> None:
    write_tokenizer(tmp_path, **variant)
    ids, mask = encode_all(load_tokenizer(tmp_path), TEXTS)
    expected = load_reference(tmp_path)[0].encode_batch(TEXTS)
    np.testing.assert_array_equal(ids, [encoding.ids for encoding in expected])
    np.testing.assert_array_equal(mask, [encoding.attention_mask for encoding in expected])


def test_serialized_padding_and_truncation_equal_fastembeds(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, limit=20)
    path = tmp_path / "tokenizer.json"
    serialized = Tokenizer.from_file(str(path))
    serialized.enable_padding(direction="left", pad_id=3, pad_token="[SEP]", length=64, pad_to_multiple_of=8)
    serialized.enable_truncation(5, direction="left")
    serialized.save(str(path))
    ids, mask = encode_all(load_tokenizer(tmp_path), TEXTS)
    expected = load_reference(tmp_path)[0].encode_batch(TEXTS)
    assert ids.shape[1] == 24
    np.testing.assert_array_equal(ids, [encoding.ids for encoding in expected])
    np.testing.assert_array_equal(mask, [encoding.attention_mask for encoding in expected])


def test_max_length_replaces_the_files_limit(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, limit=8)
    lengths = [load_tokenizer(tmp_path, max_length=limit).encode(["hello " * 50]).lengths[0] for limit in (None, 5, 30)]
    assert lengths == [8, 5, 30]


def test_truncated_texts_are_marked_and_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tokenizer(tmp_path, limit=5)
    tokenizer = load_tokenizer(tmp_path)
    with caplog.at_level(logging.WARNING, "embedders"):
        tokens = tokenizer.encode(["a a a", "a a a a", "", "hello " * 9000])
        tokenizer.encode(["a a a a"])
    assert tokens.truncated.tolist() == [False, True, False, True]
    assert [record.getMessage().split(" and ")[0] for record in caplog.records] == [
        "2 of 4 texts are longer than 5 tokens"
    ]


PIECES = st.sampled_from(["hello", "x", "foxes,", " ", "\n", "\u00a0", "東", "9" * 40, "\u0301", "\x00", "é-ü"])
LONG_TEXTS = st.lists(st.tuples(PIECES, st.sampled_from([1, 3, 400, 2000])), min_size=1, max_size=5).map(
    lambda parts: "".join(piece * count for piece, count in parts)
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(LONG_TEXTS, st.sampled_from(["left", "right"]))
@example("hello" * 400 + "\u0301" * 2000 + " " * 2000, "left")
@example(" " * 2000 + "\u0301" * 2000 + "hello" * 400, "right")
@example("hello" * 400 + "東" + "hello" * 800, "left")
@example("hello" * 800 + "東" + "hello" * 400, "right")
@example("hello" * 400 + "。" + "ไทย" * 900, "left")
def test_cutting_long_texts_by_characters_changes_no_id(tmp_path: Path, text: str, side: str) -> None:
    write_tokenizer(tmp_path, limit=10, truncation_side=side)
    whole = load_reference(tmp_path)[0]
    tokens = load_tokenizer(tmp_path).encode([text, "hello"])
    expected = whole.encode(text)
    assert tokens.ids[: tokens.offsets[1]].tolist() == expected.ids
    assert tokens.truncated.tolist() == [bool(expected.overflowing), False]


def test_cutting_long_texts_does_not_shorten_a_word_that_is_too_long_to_be_known(tmp_path: Path) -> None:
    """WordPiece knows no word of over 100 letters; what a cut leaves of one may be shorter."""
    write_tokenizer(tmp_path, limit=48)
    text = "\n" * (SMALLEST_CUT - 96) + "a" * 150 + "\n" + "fox\n" * 3000
    assert load_tokenizer(tmp_path).encode([text]).ids.tolist() == load_reference(tmp_path)[0].encode(text).ids


def test_a_text_of_megabytes_gives_the_ids_of_its_start(minilm: Path) -> None:
    tokenizer = load_tokenizer(minilm)
    start = "the quick brown fox " * 1000
    long, short = tokenizer.encode([start * 250, start]).padded(np.arange(2)).ids
    assert len(start) > SMALLEST_CUT
    np.testing.assert_array_equal(long, short)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["fine", "not \ud800 fine"], r"text 1 .*lone surrogate U\+D800 at character 4"),
        (["fine " * 1000, "not \ud800 fine"], r"text 1 .*lone surrogate U\+D800 at character 4"),
        (["fine", "fine", None], "text 2 .*NoneType"),
        ([("a", "pair")], "text 0 .*tuple"),
    ],
)
def test_what_is_no_text_is_named(texts: list[Any], message: str, minilm: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load_tokenizer(minilm).encode(texts)


def test_no_texts_give_no_tokens(minilm: Path) -> None:
    tokens = load_tokenizer(minilm).encode([])
    assert (len(tokens), tokens.ids.size, tokens.offsets.tolist()) == (0, 0, [0])


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [None, "{broken"])
def test_missing_and_broken_files_are_named(name: str, content: str | None, tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    (tmp_path / name).unlink()
    if content:
        (tmp_path / name).write_text(content)
    with pytest.raises(ModelFilesError, match=name):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [({"pad_token": "[PAD]"}, "max_length"), ({"model_max_length": 9}, "pad token"), ([], "JSON object")],
)
def test_settings_that_decide_nothing_are_named(config: Any, message: str, tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFilesError, match=message):
        load_tokenizer(tmp_path)


def test_max_length_must_leave_room_for_a_token(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    with pytest.raises(ValueError, match="2 special tokens"):
        load_tokenizer(tmp_path, max_length=2)


def test_special_tokens_are_those_flagged_special(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, special_map={"pad_token": "[PAD]", "mine": "<mine>"})
    assert load_tokenizer(tmp_path).special_tokens == load_reference(tmp_path)[1]


THAI = "ภาษาไทย" * 8_600


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("hello world", False),
        ("", False),
        (THAI, True),
        ("x" * 300_000, True),
        ("🦄", True),
        ("hello 🦄", True),
        ("hello world 🦄", False),
        ("hello world 🦄 🦄 🦄", True),
        ("🦄 " * 500, True),
        ("hello " * 500 + "🦄 " * 500, False),
    ],
    ids=lambda value: str(value)[:16],
)
def test_texts_of_which_half_the_tokens_are_unknown_are_told(tmp_path: Path, text: str, unknown: bool) -> None:
    write_tokenizer(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    tokens = tokenizer.encode(["hello", text, "world"])
    assert tokenizer.mostly_unknown(tokens).tolist() == [False, unknown, False]


def test_the_tokens_of_a_prompt_are_not_a_text_s_own(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    prompt = "the quick brown fox "
    tokens = tokenizer.encode([f"{prompt}🦄", f"{prompt}hello world 🦄"])
    assert tokenizer.mostly_unknown(tokens).tolist() == [False, False]
    assert tokenizer.mostly_unknown(tokens, prompt).tolist() == [True, False]


def test_an_unknown_token_that_ends_each_text_is_none_of_the_text_s_own() -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "<end>": 2}, [], unk_token="<end>"))
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <end>", special_tokens=[("<end>", 2)])
    ready = TextTokenizer(tokenizer, Limits(8), Padding(2, "right"))
    assert ready.mostly_unknown(ready.encode(["a", "", "abab", "aöö", "abö"])).tolist() == [False] * 3 + [True, False]


def test_each_kind_of_tokenizer_says_which_token_is_unknown() -> None:
    vocabulary = [("<pad>", 0.0), ("a", -1.0), ("<odd>", -2.0), ("▁a", -1.0)]
    kinds: list[tuple[Any, int | None]] = [
        (models.Unigram(vocabulary, unk_id=2), 2),
        (models.Unigram([*vocabulary[:2], ("▁", -1.0)]), None),
        (models.WordLevel({"a": 0, "<u>": 1}, unk_token="<u>"), 1),
        (models.BPE({"a": 0, "<u>": 1}, [], unk_token="<u>"), 1),
        (models.BPE({"a": 0}, []), None),
        (models.WordPiece({"a": 0, "[UNK]": 1}, unk_token="[UNK]"), 1),
    ]
    for model, wanted in kinds:
        tokenizer = TextTokenizer(Tokenizer(model), Limits(8, special_tokens=False), Padding(0, "right"))
        assert tokenizer.unknown_id == wanted
        assert tokenizer.mostly_unknown(tokenizer.encode(["a"])).tolist() == [False]
        if wanted is not None:
            assert tokenizer.mostly_unknown(tokenizer.encode(["ö"])).tolist() == [True]
