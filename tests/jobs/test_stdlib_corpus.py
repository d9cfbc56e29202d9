from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from stdlib_corpus import collect_stdlib

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stdlib") / "deep" / "corpus.jsonl"
    assert collect_stdlib(path) == path.read_bytes().count(b"\n")
    return path


@pytest.fixture(scope="module")
def rows(corpus: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in corpus.read_text(encoding="utf-8").split("\n")[:-1]]


def test_the_corpus_is_thousands_of_documents_of_very_different_length(rows: list[dict[str, Any]]) -> None:
    words = [len(row["text"].split()) for row in rows]
    assert 7_500 < len(rows) < 10_000
    assert min(words) == 3
    assert max(words) > 5_000


def test_ids_are_unique(rows: list[dict[str, Any]]) -> None:
    ids = [row["id"] for row in rows]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("name", "kind", "module", "thing"),
    [
        ("json", "module", "json", json),
        ("json.dumps", "function", "json", json.dumps),
        ("json.decoder.JSONDecoder", "class", "json.decoder", json.JSONDecoder),
        ("json.decoder.JSONDecoder.decode", "function", "json.decoder", json.JSONDecoder.decode),
    ],
)
def test_a_row_has_the_docstring_of_its_name(
    rows: list[dict[str, Any]], name: str, kind: str, module: str, thing: object
) -> None:
    (row,) = [row for row in rows if row["id"] == name]
    assert row == {"id": name, "text": inspect.getdoc(thing), "kind": kind, "module": module}


def test_the_topics_of_help_are_there(rows: list[dict[str, Any]]) -> None:
    topics = {row["id"]: row["text"] for row in rows if row["kind"] == "topic"}
    assert len(topics) > 50
    assert topics["pydoc_data.topics.assert"].startswith('The "assert" statement')


def test_neither_tests_nor_other_packages_are_collected(rows: list[dict[str, Any]]) -> None:
    parts = {part for row in rows for part in row["module"].split(".")}
    assert not parts & {"site-packages", "test", "tests", "pytest"}


def test_rows_come_by_module_whatever_the_order_of_files_on_disk(rows: list[dict[str, Any]]) -> None:
    modules = [row["module"] for row in rows if row["kind"] != "topic"]
    assert modules == sorted(modules)


def test_nothing_but_the_corpus_is_left_in_its_folder(corpus: Path) -> None:
    assert list(corpus.parent.iterdir()) == [corpus]


def test_a_failed_write_leaves_the_old_file_alone(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = tmp_path / "corpus.jsonl"
    old.write_text("old")

    def broken(*_: object, **__: object) -> str:
        raise OSError("no space left on device")

    monkeypatch.setattr("stdlib_corpus.json.dumps", broken)
    with pytest.raises(OSError, match="no space"):
        collect_stdlib(old)
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_text() == "old"
