from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import bm25s.stopwords
import pytest
from huggingface_hub import constants

from embedders.catalog import ModelCard
from embedders.errors import ModelFilesError, ModelNotFoundError
from embedders.model_options import ModelFiles
from embedders.sparse.stopwords import load_stopwords
from tests.hub_server import HubServer


@pytest.fixture
def hub(card: ModelCard, monkeypatch: pytest.MonkeyPatch, empty_cache: Path) -> Iterator[HubServer]:
    """A hub whose lists hold one word each, that names the language."""
    with HubServer() as server:
        files = {name: f"only-{name.removesuffix('.txt')}\n".encode() for name in card.additional_files}
        server.add_repo("Qdrant/bm25", {"config.json": b"{}", **files})
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield server


def test_the_given_folder_comes_first_and_nothing_is_asked_of_the_hub(
    card: ModelCard, hub: HubServer, empty_cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "english.txt").write_text("foo\nbär\n", encoding="utf-8")
    files = ModelFiles(cache_dir=empty_cache, specific_model_path=tmp_path)
    assert load_stopwords(card, "english", files) == {"foo", "bär"}
    assert not hub.requests


def test_a_folder_without_the_list_is_refused(card: ModelCard, tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match=r"no french\.txt.*stopwords=set\(\)"):
        load_stopwords(card, "french", ModelFiles(specific_model_path=tmp_path))


def test_a_list_that_is_not_utf8_is_refused_by_name(card: ModelCard, tmp_path: Path) -> None:
    (tmp_path / "french.txt").write_bytes("été".encode("latin-1"))
    with pytest.raises(ModelFilesError, match=r"french\.txt is not UTF-8"):
        load_stopwords(card, "french", ModelFiles(specific_model_path=tmp_path))


def test_languages_of_the_package_ask_nothing_of_the_hub(card: ModelCard, hub: HubServer, empty_cache: Path) -> None:
    for language, entry in card.options["bm25s_stopwords"].items():
        expected = set(getattr(bm25s.stopwords, entry["name"]))
        assert load_stopwords(card, language, ModelFiles(cache_dir=empty_cache)) == expected
    assert not hub.requests


def test_other_languages_come_from_the_hub_once_and_then_the_cache_serves_every_language(
    card: ModelCard, hub: HubServer, empty_cache: Path
) -> None:
    files = ModelFiles(cache_dir=empty_cache)
    assert load_stopwords(card, "arabic", files) == {"only-arabic"}
    asked = len(hub.requests)
    assert asked > 0
    assert load_stopwords(card, "arabic", files) == {"only-arabic"}
    assert load_stopwords(card, "english", files) == {"only-english"}
    assert len(hub.requests) == asked


def test_an_edited_list_of_the_package_is_not_taken(
    card: ModelCard, hub: HubServer, empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "edited" / "bm25s"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('not to be imported')")
    (package / "stopwords.py").write_text('STOPWORDS_EN_PLUS = ("the", "a")')
    monkeypatch.delitem(sys.modules, "bm25s")
    monkeypatch.syspath_prepend(package.parent)
    assert load_stopwords(card, "english", ModelFiles(cache_dir=empty_cache)) == {"only-english"}


def test_a_list_that_is_nowhere_is_an_error_that_says_what_to_do(
    card: ModelCard, hub: HubServer, empty_cache: Path
) -> None:
    files = ModelFiles(cache_dir=empty_cache, local_files_only=True)
    with pytest.raises(ModelNotFoundError, match=r"(?s)stop words of turkish.*local_files_only.*specific_model_path"):
        load_stopwords(card, "turkish", files)
    assert not hub.requests


def test_tamil_has_no_list_anywhere(card: ModelCard, hub: HubServer, tmp_path: Path) -> None:
    assert load_stopwords(card, "tamil", ModelFiles(specific_model_path=tmp_path)) == set()
    assert not hub.requests


def test_lists_of_the_package_are_nltks(card: ModelCard, shared_data: Path, empty_cache: Path) -> None:
    assert "english" in card.options["bm25s_stopwords"]
    for language in card.options["bm25s_stopwords"]:
        nltk = (shared_data / "stopwords" / "nltk" / f"{language}.txt").read_text(encoding="utf-8").splitlines()
        assert load_stopwords(card, language, ModelFiles(cache_dir=empty_cache)) == set(nltk)
