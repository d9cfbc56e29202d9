from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config.source import SourceConfig
from pipelines.sources import plan_source, read_split, scan_split
from pipelines.sources.duplicates import number_lines
from tests.pipelines.sources.reading import (
    FILES_OF_A_TEST,
    messages,
    read,
    write_lines,
)


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


@pytest.mark.parametrize("indent", [None, 1])
def test_a_file_that_is_one_array_is_told_how_to_become_lines(tmp_path: Path, indent: int | None) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"text": "a"}, {"text": "b"}], indent=indent))
    assert messages(read(tmp_path))[0].endswith("if the file is one JSON array, jq -c '.[]' FILE writes it as lines")


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


@given(
    lines=st.lists(
        st.sampled_from(['{"text": "a"}', '{"text": "bé"}', "", "  ", "bad", '{"text": "' + "x" * 50 + '"}'])
    ),
    size=st.integers(1, 80),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
    mark=st.booleans(),
)
@FILES_OF_A_TEST
def test_a_jsonl_file_in_pieces_has_the_rows_of_the_whole(
    tmp_path: Path, lines: list[str], size: int, end: str, last: bool, mark: bool
) -> None:
    content = end.join(lines) + (end if last else "")
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" * mark + content.encode())
    whole = read(tmp_path)
    source = SourceConfig(path=str(tmp_path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.sources.jsonl.SPLIT_BYTES", size)
        splits = plan_source(source).splits
    numbered = number_lines([scan_split(split, source) for split in splits])
    rows = [row for split in numbered for table in read_split(split, source, block_rows=2) for row in table.to_pylist()]
    assert rows == whole
    assert sum(split.bytes for split in splits) == (tmp_path / "a.jsonl").stat().st_size


def test_lines_of_a_range_that_nobody_numbered_are_counted_from_its_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(tmp_path / "a.jsonl", [{"text": "a"}] * 4)
    monkeypatch.setattr("pipelines.sources.jsonl.SPLIT_BYTES", 28)
    assert [row["origin"] for row in read(tmp_path)] == ["a.jsonl:1", "a.jsonl:2", "a.jsonl@28:1", "a.jsonl@28:2"]
