from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config.source import SourceConfig
from pipelines.errors import SourceError
from pipelines.sources import plan_source
from pipelines.sources.csv_lines import CsvLines
from tests.pipelines.sources.reading import messages, read, write_lines


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


def pairs(rows: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(row["document_id"], row["text"], row["origin"]) for row in rows]


def plan_notices(path: Path, **config: Any) -> tuple[str, ...]:
    return plan_source(SourceConfig(path=str(path), **config)).notices


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\r\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_may_end_as_on_any_machine(tmp_path: Path, end: str, last: bool) -> None:
    lines = ["id,text", "1,first", '2,"sec\rond"', "", "3,third"]
    (tmp_path / "a.csv").write_text(end.join(lines) + (end if last else ""), newline="")
    rows = read(tmp_path, id="id")
    assert [(row["document_id"], row["text"], row["error"]) for row in rows] == [
        ("1", "first", None),
        ("2", "sec\rond", None),
        ("3", "third", None),
    ]
    # In a file whose lines end with carriage returns, one in quotes is a line as well.
    numbers = [2, 3, 6] if end == "\r" else [2, 3, 5]
    assert [row["origin"] for row in rows] == [f"a.csv:{number}" for number in numbers]


def test_a_file_of_carriage_returns_is_read_in_pieces_however_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.sources.csv_lines.MAX_LINE_BYTES", 100)
    monkeypatch.setattr("pipelines.sources.lines.MAX_LINE_BYTES", 100)
    monkeypatch.setattr("pipelines.sources.lines.CHUNK_BYTES", 7)
    (tmp_path / "a.csv").write_text("text\r" + "".join(f"row {n}\r" for n in range(500)), newline="")
    assert [row["text"] for row in read(tmp_path)] == [f"row {n}" for n in range(500)]
    (tmp_path / "a.csv").write_text(f"text\nshort\n{'x' * 200}\nlost\n")
    rows = read(tmp_path)
    assert [row["text"] for row in rows] == ["short", None]
    assert "line 3 is longer than" in rows[1]["error"]["message"]


def test_a_compressed_file_may_have_carriage_returns(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfid,text\r1,a\r2,b"))
    assert pairs(read(tmp_path, id="id")) == [("1", "a", "a.csv.gz:2"), ("2", "b", "a.csv.gz:3")]


def test_a_carriage_return_outside_of_quotes_makes_no_row_of_half_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,n\na,1\nb\rc,2\nd,3\n")
    rows = read(tmp_path)
    assert [(row["text"], row["origin"]) for row in rows] == [("a", "a.csv:2"), (None, "a.csv:3"), ("d", "a.csv:4")]
    assert messages(rows)[1] == (
        "the row is no CSV: it has a carriage return outside of quotes, and the header ends with a newline"
    )


@given(
    body=st.text(alphabet='ab,"\r\n', max_size=40).map(str.encode),
    header=st.sampled_from([b"x,y\n", b"x,y\r\n", b'"x\ry",z\n', b"\n\nx,y\n"]),
    size=st.integers(1, 20),
)
def test_where_lines_end_with_newlines_rows_and_places_are_what_they_always_were(
    body: bytes, header: bytes, size: int
) -> None:
    data = header + body
    lines = data.decode().split("\n")
    reference = csv.reader(line + "\n" for line in (lines if lines[-1] else lines[:-1]))
    ours = CsvLines(data[at : at + size] for at in range(0, len(data), size))
    reader = csv.reader(ours)

    def rows(parsed: Iterator[list[str]], place: Callable[[], int]) -> Iterator[tuple[list[str] | str, int]]:
        while True:
            at = place()
            try:
                yield next(parsed), at
            except csv.Error as error:
                yield str(error), at
            except StopIteration:
                return

    assert next(row for row in reader if row) == next(row for row in reference if row)
    before = ours.settle() - reader.line_num
    assert list(rows(reader, lambda: before + reader.line_num)) == list(rows(reference, lambda: reference.line_num))


@given(data=st.text(alphabet="a\r\n", max_size=60).map(str.encode), size=st.integers(1, 12))
def test_lines_do_not_depend_on_how_a_file_comes_in(data: bytes, size: int) -> None:
    whole = list(CsvLines([data] if data else []))
    assert list(CsvLines(data[at : at + size] for at in range(0, len(data), size))) == whole
    assert "".join(whole).removesuffix("\n") == data.decode().removesuffix("\n")


def test_empty_names_at_the_end_of_a_header_are_left_out_with_a_notice(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(f"id,text,,\n{name},x,,\n")
    rows = read(tmp_path, id="id")
    assert [(row["document_id"], row["text"], row["payload"], row["error"]) for row in rows] == [
        ("a.csv", "x", "{}", None),
        ("b.csv", "x", "{}", None),
    ]
    assert plan_notices(tmp_path) == (
        "a.csv and 1 more file: the last 2 columns have no names and are left out where they are empty",
    )


def test_a_value_in_a_column_without_a_name_is_not_lost_in_silence(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text,,\n1,a,,\n2,b,,lost\n3,c\n")
    rows = read(tmp_path, id="id")
    assert messages(rows) == [
        None,
        "the row has a value in column 4, which has no name",
        "the row has 2 fields, the header 4",
    ]


def test_a_single_column_without_a_name_keeps_its_values(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text,\n1,a,\n2,b,kept\n")
    assert [row["payload"] for row in read(tmp_path, id="id")] == ["{}", '{"": "kept"}']
    assert plan_notices(tmp_path, id="id") == ("a.csv: the last column has no name and is left out where it is empty",)
    # Ids that are made from the content count it.
    assert [row["payload"] for row in read(tmp_path, payload="all")] == [
        '{"": "", "id": "1"}',
        '{"": "kept", "id": "2"}',
    ]


def test_names_that_are_empty_elsewhere_than_at_the_end_stay(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",text,,\n0,a,,\n")
    assert [row["payload"] for row in read(tmp_path)] == ['{"": "0"}']


@pytest.mark.parametrize(
    ("name", "content", "config", "message"),
    [
        (
            "a.csv",
            "id;text\n1;a\n",
            {},
            'semicolons, but is read with commas between columns; set source.delimiter: ";"',
        ),
        ("a.csv", "id\ttext\n1\ta\n", {}, r'tabs, but is read with commas between columns; set source.delimiter: "\t"'),
        (
            "a.csv",
            "id|text|n\n",
            {},
            'vertical bars, but is read with commas between columns; set source.delimiter: "|"',
        ),
        ("a.csv", "id;te;a,b\n", {}, 'semicolons, but is read with commas between columns; set source.delimiter: ";"'),
        ("a.tsv", "id,text\n1,a\n", {}, "commas, but is read with tabs between columns; let its name end with .csv"),
        ("a.tsv", "id;text\n1;a\n", {}, 'semicolons, but is read with tabs between columns; set source.delimiter: ";"'),
        (
            "a.csv",
            "id,text\n1,a\n",
            {"delimiter": ";"},
            'commas, but is read with semicolons between columns; set source.delimiter: ","',
        ),
    ],
)
def test_a_header_of_another_delimiter_is_told(
    tmp_path: Path, name: str, content: str, config: dict[str, Any], message: str
) -> None:
    (tmp_path / name).write_text(content)
    whole = f"{name}: its header looks like one with {message}"
    with pytest.raises(SourceError, match=re.escape(f". {whole}")):
        plan_source(SourceConfig(path=str(tmp_path), **config))
    # Beside a file that is as it should be, the plan and the report say so.
    write_lines(tmp_path / "good.jsonl", [{"text": "b"}])
    assert plan_notices(tmp_path, **config) == (whole,)


@pytest.mark.parametrize("header", ["text", "id,text", "id,text,m;or,n", '"a,b",text', ""])
def test_a_header_that_is_as_it_should_be_is_not_told_of(tmp_path: Path, header: str) -> None:
    (tmp_path / "a.csv").write_text(f"{header}\n")
    assert plan_notices(tmp_path, text="text") == ()


def test_a_table_is_cut_at_spaces_or_letters_and_its_end_is_no_row(tmp_path: Path) -> None:
    for delimiter in (" ", "e"):
        (tmp_path / "a.csv").write_text(f"id{delimiter}'tail'\n1{delimiter}a\n")
        rows = read(tmp_path / "a.csv", delimiter=delimiter, text="'tail'")
        assert [(row["text"], row["error"]) for row in rows] == [("a", None)]
