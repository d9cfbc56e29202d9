from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pipelines.sources.reading import (
    FILES_OF_A_TEST,
    PACKERS,
    messages,
    read,
    read_once,
    write_lines,
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


def test_a_text_file_is_one_document_named_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.md").write_bytes(b"\xef\xbb\xbf# Title\r\n\0")
    (tmp_path / "c.txt").touch()
    (tmp_path / "d.txt").write_bytes(b"caf\xe9")
    (tmp_path / "e.txt.gz").write_bytes(gzip.compress(b"packed"))
    rows = read(tmp_path)
    assert [(row["document_id"], row["text"]) for row in rows] == [
        ("a/b.md", "# Title\r\n\0"),
        ("c.txt", ""),
        ("d.txt", "caf\ufffd"),
        ("e.txt.gz", "packed"),
    ]
    assert rows[0]["payload"] == '{"path": "a/b.md"}'
    assert [row["origin"] for row in rows] == ["a/b.md", "c.txt", "d.txt", "e.txt.gz"]
    assert messages(rows) == [None, None, "byte 3 of the text, 0xe9, is not UTF-8", None]


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_compressed_files_of_several_members_are_read(tmp_path: Path, name: str, ending: str) -> None:
    parts = [b"text\na\n", b"b\n"] if name == "a.csv" else [b'{"text": "a"}\n', b'{"text": "b"}\n']
    (tmp_path / f"{name}.{ending}").write_bytes(b"".join(PACKERS[ending](part) for part in parts))
    assert [(row["text"], row["error"]) for row in read(tmp_path)] == [("a", None), ("b", None)]


def test_zeros_after_a_gzip_member_are_padding(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n') + bytes(512))
    assert [(row["text"], row["error"]) for row in read(tmp_path)] == [("a", None)]


@pytest.mark.parametrize("ending", PACKERS)
def test_a_truncated_file_gives_its_good_rows_and_says_that_others_are_missing(tmp_path: Path, ending: str) -> None:
    rng = np.random.default_rng(0)
    lines = b"".join(json.dumps({"id": n, "text": rng.bytes(60).hex()}).encode() + b"\n" for n in range(20_000))
    packed = PACKERS[ending](lines)
    (tmp_path / f"a.jsonl.{ending}").write_bytes(packed[: len(packed) * 3 // 4])
    *rows, dead = read(tmp_path, id="id")
    assert [row["document_id"] for row in rows] == [str(n) for n in range(len(rows))]
    assert all(row["error"] is None for row in rows)
    # bzip2 decodes by blocks of 900 KB, zstd by blocks of 128 KB.
    assert len(rows) > {"gz": 14_500, "bz2": 6_000, "zst": 13_000}[ending]
    assert dead["document_id"] is None
    assert dead["error"]["message"].startswith(
        f"file a.jsonl.{ending} cannot be read after a.jsonl.{ending}:{len(rows)}: "
    )


def test_a_truncated_gzip_file_loses_no_whole_line(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"{n} {n * 7919 % 100_003}"}).encode() + b"\n" for n in range(2000)]
    packed = gzip.compress(b"".join(lines))
    (tmp_path / "a.jsonl.gz").write_bytes(packed[:-500])
    whole = zlib.decompressobj(wbits=31).decompress(packed[:-500]).count(b"\n")
    rows = read(tmp_path)
    assert len(rows) == whole + 1
    assert [row["error"] is None for row in rows] == [True] * whole + [False]


@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.lists(
            st.sampled_from([b'{"text": "a"}', b'"', b",", b"\n", b"\r", b"\xff", b"text", b"\0", b"{", b"]"])
        ).map(b"".join),
    ),
    ending=st.sampled_from(["jsonl", "csv", "txt", "parquet", "jsonl.gz", "csv.bz2", "txt.zst"]),
    cut=st.integers(0, 300),
    packed=st.booleans(),
)
@FILES_OF_A_TEST
def test_no_content_of_a_file_stops_the_reading_of_others(
    tmp_path: Path, content: bytes, ending: str, cut: int, packed: bool
) -> None:
    for old in tmp_path.iterdir():
        old.unlink()
    pack = PACKERS.get(ending.rpartition(".")[2])
    (tmp_path / f"a.{ending}").write_bytes(pack(content)[:cut] if pack and packed else content)
    write_lines(tmp_path / "b.jsonl", [{"text": "good"}])
    rows = read_once(tmp_path)
    assert rows[-1]["origin"] == "b.jsonl:1"
    assert all(row["error"] or (row["document_id"] and row["text"] is not None) for row in rows)
