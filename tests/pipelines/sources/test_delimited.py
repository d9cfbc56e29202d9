from __future__ import annotations

from pathlib import Path

from tests.pipelines.sources.reading import (
    messages,
    read,
)


def test_csv_has_quotes_newlines_in_them_and_other_delimiters(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbfid,text\r\n1,"a, ""b""\r\nc"\r\n\r\n2,d')
    (tmp_path / "b.tsv").write_text("id\ttext\n3\te,f\n")
    rows = read(tmp_path, id="id")
    assert [(row["document_id"], row["text"], row["origin"]) for row in rows] == [
        ("1", 'a, "b"\r\nc', "a.csv:2"),
        ("2", "d", "a.csv:5"),
        ("3", "e,f", "b.tsv:2"),
    ]
    (tmp_path / "c.csv").write_text("id;text\n4;g\n")
    assert [row["text"] for row in read(tmp_path / "c.csv", delimiter=";")] == ["g"]


def test_a_csv_row_of_the_wrong_length_is_dead(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text,year\n1,a,2\n2,b\n3,c,3,4\n4,d,5\n")
    rows = read(tmp_path)
    assert [row["text"] for row in rows] == ["a", None, None, "d"]
    assert messages(rows) == [None, "the row has 2 fields, the header 3", "the row has 4 fields, the header 3", None]
    assert [row["origin"] for row in rows] == ["a.csv:2", "a.csv:3", "a.csv:4", "a.csv:5"]


def test_a_csv_field_may_be_very_long(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"text\n{'x' * 5_000_000}\n")
    assert [len(row["text"]) for row in read(tmp_path)] == [5_000_000]


def test_a_quote_that_is_never_closed_does_not_swallow_rows_in_silence(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,text\n1,a\n2,"b\n3,c\n4,d\n')
    rows = read(tmp_path)
    assert [(row["text"], row["origin"]) for row in rows] == [("a", "a.csv:2"), (None, "a.csv:3")]
    assert messages(rows)[1] == "a quote that opens in this row is never closed; rows after it are missing"


def test_bytes_that_are_not_utf8_cost_only_the_csv_row_that_has_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,note\na,b\ncaf\xe9,b\nc,\xff\nd,b\n")
    rows = read(tmp_path)
    assert [row["error"] is None for row in rows] == [True, False, False, True]
    assert messages(rows)[1] == "the text has a byte 0xe9, which is not UTF-8, at character 3"
    assert [row["error"] for row in read(tmp_path, payload=[])][2] is None


def test_a_header_that_names_a_column_twice_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,year,year\na,1,2\n")
    (row,) = read(tmp_path)
    assert (row["document_id"], row["origin"]) == (None, "a.csv")
    assert "names column 'year' twice" in row["error"]["message"]
