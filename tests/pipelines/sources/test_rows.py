from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.sources.reading import (
    read,
    write_lines,
)


def test_a_row_has_id_text_payload_and_origin(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [{"id": 7, "text": "héllo", "z": [1, {"b": None}], "a": True, "title": "ü"}])
    (row,) = read(tmp_path, id="id")
    assert row == {
        "document_id": "7",
        "text": "héllo",
        "payload": '{"a": true, "title": "ü", "z": [1, {"b": null}]}',
        "origin": "a.jsonl:1",
        "_image": None,
        "error": None,
    }


def test_only_the_chosen_columns_are_kept_and_never_id_or_text(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [{"key": "k", "body": "x", "title": "t", "year": 1}, {"key": "l", "body": "y"}])
    rows = read(tmp_path, id="key", text="body", payload=["title", "key"])
    assert [row["payload"] for row in rows] == ['{"title": "t"}', "{}"]


def test_without_an_id_a_row_is_named_by_its_content(tmp_path: Path) -> None:
    lines = [{"id": 1, "text": "a"}, {"id": 2, "text": "a"}, {"text": "a", "id": 1}, {"id": 1, "text": "b"}]
    ids = [row["document_id"] for row in read(write_lines(tmp_path / "a.jsonl", lines))]
    assert ids[0] == ids[2]
    assert len(set(ids)) == 3
    assert [json.loads(row["payload"])["id"] for row in read(tmp_path)] == [1, 2, 1, 1]


def test_a_row_without_an_id_among_others_is_named_by_its_content(tmp_path: Path) -> None:
    nameless = [{"text": "a"}, {"id": None, "text": "a"}, {"id": "", "text": "a"}]
    rows = read(write_lines(tmp_path / "a.jsonl", [*nameless, {"id": "x", "text": "a"}]), id="id")
    (first, *others, named) = [row["document_id"] for row in rows]
    assert others == [first, first]
    assert (len(first), named) == (32, "x")


@pytest.mark.parametrize("value", [1.5, True, ["a"], {"a": 1}, "\ud800"])
def test_an_id_must_be_a_string_or_an_integer(tmp_path: Path, value: Any) -> None:
    (row,) = read(write_lines(tmp_path / "a.jsonl", [{"id": value, "text": "a"}]), id="id")
    assert row["error"]["type"] == "InvalidId"
    assert row["text"] == "a"


def test_what_a_dead_row_has_is_kept_for_the_dead_letters(tmp_path: Path) -> None:
    lines = [{"id": "x", "text": "a\ud800b", "n": 1}, {"id": "y", "text": "c", "n": math.inf, "m": 2}]
    surrogate, infinite = read(write_lines(tmp_path / "a.jsonl", lines), id="id")
    assert (surrogate["document_id"], surrogate["text"], surrogate["payload"]) == ("x", "a\ufffdb", '{"n": 1}')
    assert (infinite["document_id"], infinite["text"], infinite["payload"]) == ("y", "c", '{"m": 2}')


def test_nan_is_null(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "n": [NaN, {"m": NaN}]}\n')
    assert [row["payload"] for row in read(tmp_path)] == ['{"n": [null, {"m": null}]}']
