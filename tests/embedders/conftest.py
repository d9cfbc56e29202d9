from __future__ import annotations

import ast
import sysconfig
from pathlib import Path

import bm25s.stopwords
import pytest
from huggingface_hub import constants

from embedders.catalog import ModelCard, find_card


@pytest.fixture(scope="session")
def card() -> ModelCard:
    return find_card("Qdrant/bm25")


@pytest.fixture(scope="session")
def stopword_folder(card: ModelCard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with {language}.txt of the languages whose list the package bm25s has."""
    folder = tmp_path_factory.mktemp("bm25")
    for language, entry in card.options["bm25s_stopwords"].items():
        words = getattr(bm25s.stopwords, entry["name"])
        (folder / f"{language}.txt").write_text("\n".join(words), encoding="utf-8")
    return folder


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder for cache_dir, on a machine that has no model's files anywhere else."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "huggingface"))
    monkeypatch.delenv("FASTEMBED_CACHE_PATH", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def docstrings() -> list[str]:
    """Docstrings of Python's standard library: some 3,000 real texts of 1 to some 10,000 characters."""
    texts: list[str] = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
                texts.append(text)
    return texts
