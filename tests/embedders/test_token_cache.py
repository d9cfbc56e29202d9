"""Models that share a token cache: equal tokenizers tokenize once, and nothing else changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedders.catalog import custom_card
from embedders.device.settings import BatchSettings
from embedders.factory import make_embedder
from embedders.token_cache import TokenCache
from embedders.tokenization import TextTokenizer, load_tokenizer
from embedders.tokenized_texts import TokenizedTexts
from tests.embedders.texts import ODD_TEXTS
from tests.synthetic_graphs import logits
from tests.synthetic_models import Plan, build_network, write_json

Load = Callable[..., Any]


@pytest.fixture
def tokenized(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Texts of each call of a tokenizer."""
    calls: list[list[str]] = []
    encode = TextTokenizer.encode

    def counted(tokenizer: TextTokenizer, texts: Sequence[str]) -> TokenizedTexts:
        calls.append(list(texts))
        return encode(tokenizer, texts)

    monkeypatch.setattr(TextTokenizer, "encode", counted)
    return calls


@pytest.fixture
def load(tmp_path: Path, tokenized: list[list[str]]) -> Load:
    """Loads a synthetic model of some family, of one tokenizer; ``tokenized`` forgets what loading took."""
    build_network(tmp_path / "dense")
    build_network(tmp_path / "splade", Plan(logits))

    def loaded(family: str, arguments: dict[str, Any] | None = None, **facts: Any) -> Any:
        folder = tmp_path / ("splade" if family == "splade" else "dense")
        needed = {"pooling": "mean"} if family == "dense" else {}
        card = custom_card(family, model="tests/mine", sources=folder, **{**needed, **facts})
        model = make_embedder(card, cuda=False, threads=1, **(arguments or {}))
        tokenized.clear()
        return model

    return loaded


@pytest.mark.parametrize("second", ["dense", "late_interaction", "splade"])
def test_synthetic_models_of_one_tokenizer_tokenize_a_block_once(
    second: str, load: Load, tokenized: list[list[str]]
) -> None:
    cache = {"token_cache": TokenCache()}
    models = [load("dense", cache), load(second, cache)]
    alone = [load("dense"), load(second)]
    for block in (ODD_TEXTS, ["a", "bat", "a"], [], ["another"]):
        expected = [model.embed_arrow(block) for model in alone]
        tokenized.clear()
        for model, column in zip(models, expected, strict=True):
            assert model.embed_arrow(block).equals(column)
        assert tokenized == [list(dict.fromkeys(block))]
    for model, other in zip(models, alone, strict=True):
        assert model.fingerprint == other.fingerprint
        for name in ("rows", "tokens", "padded_tokens", "truncated"):
            assert getattr(model.stats, name) == getattr(other.stats, name) > 0


@pytest.mark.parametrize(
    ("family", "arguments", "facts"),
    [
        ("dense", {"max_length": 9}, {}),
        ("dense", {"prompts": {"passage": "the "}}, {}),
        ("late_interaction", {}, {"options": {"document_marker": 2, "query_marker": 1}}),
    ],
    ids=["another limit", "a prompt", "room for a marker"],
)
def test_synthetic_models_that_tokenize_otherwise_do_it_themselves(
    family: str, arguments: dict[str, Any], facts: dict[str, Any], load: Load, tokenized: list[list[str]]
) -> None:
    cache = {"token_cache": TokenCache()}
    first, other = load("dense", cache), load(family, {**arguments, **cache}, **facts)
    expected = load("dense").embed_arrow(ODD_TEXTS), load(family, arguments, **facts).embed_arrow(ODD_TEXTS)
    tokenized.clear()
    for model, column in zip((first, other), expected, strict=True):
        assert model.embed_arrow(ODD_TEXTS).equals(column)
    assert len(tokenized) == 2


def test_synthetic_texts_that_are_none_are_named_by_every_model(load: Load) -> None:
    cache = {"token_cache": TokenCache()}
    for model in (load("dense", cache), load("dense", cache)):
        with pytest.raises(ValueError, match=r"text 2\b"):
            model.embed_arrow(["fine", "fine", "\udc80"])
        assert len(model.embed_arrow(["fine", "fine"])) == 2


def test_every_model_warns_of_what_it_truncates(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    cache = {"token_cache": TokenCache()}
    for model in (load("dense", cache), load("dense", cache)):
        model.embed_arrow(["bat " * 99, "bat"])
        assert model.stats.truncated == 1
    assert caplog.text.count("1 of 2 texts are longer than 48 tokens") == 2


def test_synthetic_models_of_one_tokenizer_tokenize_the_pieces_of_a_block_once(
    load: Load, tokenized: list[list[str]]
) -> None:
    arguments = {"batches": BatchSettings(ahead=2), "token_budget": 400}
    block = [f"the bat {number} " + "cave " * (number % 9) for number in range(600)]
    alone = [load("dense", arguments).embed_arrow(block), load("splade", arguments).embed_arrow(block)]
    cache = {**arguments, "token_cache": TokenCache()}
    models = [load("dense", cache), load("splade", cache)]
    tokenized.clear()
    for _ in range(2):
        for model, column in zip(models, alone, strict=True):
            assert model.embed_arrow(block).equals(column)
    assert len(tokenized) > 2
    assert sorted(text for texts in tokenized for text in texts) == sorted(block)


def test_only_the_last_texts_are_kept(tmp_path: Path) -> None:
    build_network(tmp_path)
    cache, tokenizer = TokenCache(most_texts=2), load_tokenizer(tmp_path)
    first = cache.encode(tokenizer, ["bat", "cave"])
    assert cache.encode(tokenizer, ["bat", "cave"]) is first
    cache.encode(tokenizer, ["bat"])
    again = cache.encode(tokenizer, ["bat", "cave"])
    assert again is not first
    np.testing.assert_array_equal(again.ids, first.ids)
    larger = cache.encode(tokenizer, ["bat", "cave", "a"])
    assert cache.encode(tokenizer, ["bat", "cave", "a"]) is larger


def test_tokenizers_are_equal_by_what_they_do(tmp_path: Path) -> None:
    for name in ("one", "same", "padded", "other"):
        build_network(tmp_path / name, Plan(padding_side="left") if name == "padded" else Plan())
    # Settings that change no id.
    write_json(tmp_path / "same" / "config.json", {"pad_token_id": 0, "model_type": "bert"})
    content = json.loads((tmp_path / "other" / "tokenizer.json").read_text())
    content["normalizer"]["lowercase"] = False
    write_json(tmp_path / "other" / "tokenizer.json", content)
    one, same, padded, other = (load_tokenizer(tmp_path / name) for name in ("one", "same", "padded", "other"))
    assert one.identity == same.identity
    shorter = load_tokenizer(tmp_path / "one", max_length=9)
    assert len({tokenizer.identity for tokenizer in (one, padded, other, shorter)}) == 4
    assert one.identity == load_tokenizer(tmp_path / "one", max_length=49, reserved=1).identity
