"""Finds a language's stop words in the model's files, or in the package bm25s where its list is the same.

The order is: the folder the user gave; the cache; bm25s, without any network call; the hub. The model's card names the
languages whose list in bm25s is the same, with the lists' digests, so that a list edited since is not taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

from embedders.catalog import ModelCard
from embedders.errors import ModelFilesError, ModelNotFoundError
from embedders.files.remote import is_remote, local_place
from embedders.model_options import ModelFiles


def load_stopwords(card: ModelCard, language: str, files: ModelFiles) -> frozenset[str]:
    """Stop words of one of the card's languages.

    A language without a list has no stop words. Raises ModelFilesError for a folder without the list, and
    ModelNotFoundError where it is nowhere.
    """
    if language in card.options["without_stopwords"]:
        return frozenset()
    if files.specific_model_path is not None:
        return _read_list(_given_folder(card, language, files), language)
    try:
        cached = replace(files, local_files_only=True).folder(card)
    except (ModelNotFoundError, ModelFilesError):
        packaged = _packaged_list(card, language)
        return _fetch(card, language, files) if packaged is None else packaged
    return _read_list(cached, language)


def words_digest(words: Iterable[str]) -> str:
    """Hex sha256 of the sorted words, one a line."""
    return hashlib.sha256("\n".join(sorted(words)).encode()).hexdigest()


def _given_folder(card: ModelCard, language: str, files: ModelFiles) -> Path:
    given = files.specific_model_path
    assert given is not None
    if not is_remote(given):
        return local_place(given)
    from embedders.files.mirror import mirrored_file

    what = f"specific_model_path of model {card.model}"
    name, offline = f"{language}.txt", files.local_files_only
    return mirrored_file(str(given), name, what, cache_dir=files.cache_dir, local_only=offline).parent


def _read_list(folder: Path, language: str) -> frozenset[str]:
    path = folder / f"{language}.txt"
    try:
        return frozenset(path.read_text(encoding="utf-8").splitlines())
    except FileNotFoundError:
        raise ModelFilesError(
            f"{folder} has no {path.name}, the stop words of {language}; put the list there, one word a line, "
            "or pass stopwords=set() to keep every word"
        ) from None
    except UnicodeDecodeError as error:
        raise ModelFilesError(f"{path} is not UTF-8 ({error}); save the stop words as UTF-8") from None


def _packaged_list(card: ModelCard, language: str) -> frozenset[str] | None:
    entry = card.options["bm25s_stopwords"].get(language)
    if entry is None:
        return None
    words = frozenset(_words_in_bm25s(entry["name"]))
    return words if words_digest(words) == entry["sha256"] else None


def _words_in_bm25s(name: str) -> Iterable[str]:
    """Read a list out of bm25s without the rest of it, which imports SciPy."""
    package = find_spec("bm25s")
    if package is None or package.origin is None:
        return ()
    lists = spec_from_file_location("the stop words of bm25s", Path(package.origin).with_name("stopwords.py"))
    assert lists is not None and lists.loader is not None
    module = module_from_spec(lists)
    try:
        lists.loader.exec_module(module)
    except OSError:
        return ()
    words: Iterable[str] = getattr(module, name, ())
    return words


def _fetch(card: ModelCard, language: str, files: ModelFiles) -> frozenset[str]:
    try:
        folder = files.folder(card)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            f"the stop words of {language} are not at hand: {error} A folder with {language}.txt can be given as "
            "specific_model_path, or the words themselves as stopwords (an empty set keeps every word)."
        ) from error
    return _read_list(folder, language)
