from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from pipelines.config.source import SourceConfig
from pipelines.sources import plan_source, read_split
from tests.pipelines.sources.reading import (
    messages,
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


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": null}', "text is null"),
        ('{"text": 5}', "text is int, not a string"),
        ('{"text": ["a"]}', "text is list, not a string"),
        ('{"body": "a"}', "the row has no column 'text'"),
        ('{"text": "a"', "the line is no JSON: Expecting ',' delimiter: line 1 column 13 (char 12)"),
        ('["a"]', "the line is a list, not an object; it takes one JSON object a line"),
        ('"a"', "the line is a str, not an object; it takes one JSON object a line"),
        ('{"text": "ab\\ud800"}', "the text has a lone surrogate U+D800, at character 2"),
        ('{"text": "a", "n": 1e999}', "payload column 'n': Out of range float values are not JSON compliant"),
        ('{"text": "a", "n": {"b": "\\udfff"}}', "payload column 'n' has a lone surrogate U+DFFF, at character 13"),
        ('{"text": "a", "n": ' + "9" * 5000 + "}", "the line is no JSON: Exceeds the limit"),
        ('{"text": ' + "[" * 100_000, "the object is nested too deeply"),
    ],
)
def test_a_line_that_cannot_be_used_is_a_dead_row_and_costs_no_other(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "before"}\n' + line + '\n{"text": "after"}\n')
    before, dead, after = read(tmp_path)
    assert (before["text"], after["text"], after["origin"]) == ("before", "after", "a.jsonl:3")
    assert before["error"] is after["error"] is None
    assert dead["error"]["message"].startswith(message)
    assert (dead["error"]["stage"], dead["origin"]) == ("read", "a.jsonl:2")


def test_what_a_dead_row_has_is_kept_for_the_dead_letters(tmp_path: Path) -> None:
    lines = [{"id": "x", "text": "a\ud800b", "n": 1}, {"id": "y", "text": "c", "n": math.inf, "m": 2}]
    surrogate, infinite = read(write_lines(tmp_path / "a.jsonl", lines), id="id")
    assert (surrogate["document_id"], surrogate["text"], surrogate["payload"]) == ("x", "a\ufffdb", '{"n": 1}')
    assert (infinite["document_id"], infinite["text"], infinite["payload"]) == ("y", "c", '{"m": 2}')


def test_bytes_that_are_not_utf8_make_one_dead_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a"}\n{"text": "caf\xe9"}\n{"text": "\xc3\xa9"}\n')
    rows = read(tmp_path)
    assert messages(rows) == [None, "byte 13 of the line, 0xe9, is not UTF-8", None]
    assert rows[2]["text"] == "é"


def test_control_characters_a_byte_order_mark_and_blank_lines_are_no_errors(tmp_path: Path) -> None:
    text = "a\0b\x1b\x7f\u2028c\r\nd"
    (tmp_path / "a.jsonl").write_bytes(
        b"\xef\xbb\xbf" + json.dumps({"text": text}).encode() + b"\r\n\n  \n" + '{"text": "\u2028"}'.encode()
    )
    rows = read(tmp_path)
    assert [(row["text"], row["origin"], row["error"]) for row in rows] == [
        (text, "a.jsonl:1", None),
        ("\u2028", "a.jsonl:4", None),
    ]


def test_nan_is_null(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "n": [NaN, {"m": NaN}]}\n')
    assert [row["payload"] for row in read(tmp_path)] == ['{"n": [null, {"m": null}]}']


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt"])
def test_utf16_is_said_to_be_that(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"text": "a"}\n', encoding="utf-16")
    (row,) = read(tmp_path)
    assert row["error"]["type"] == "UnreadableFile"
    assert "is UTF-16; convert it to UTF-8" in row["error"]["message"]


def test_long_texts_are_read_in_smaller_blocks(tmp_path: Path) -> None:
    source = SourceConfig(path=str(write_lines(tmp_path / "a.jsonl", [{"text": "x" * 6_000_000}] * 4)))
    (split,) = plan_source(source).splits
    assert [table.num_rows for table in read_split(split, source, block_rows=1000)] == [3, 1]
