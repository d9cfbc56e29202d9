from __future__ import annotations

import json
import math
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config.source import SourceConfig
from pipelines.sources import plan_source, scan_split
from tests.pipelines.sources.reading import (
    FILES_OF_A_TEST,
    duplicates_of,
    messages,
    read,
    read_once,
    write_lines,
    write_parquet,
)


def test_the_first_row_of_an_id_is_kept_and_the_others_say_where_it_was(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [{"id": "x", "text": "1"}, {"id": "y", "text": "2"}, {"id": "x", "text": "3"}])
    (tmp_path / "b.csv").write_text("id,text\ny,4\nz,5\n")
    write_parquet(tmp_path / "c.parquet", {"id": ["z", "w", "w"], "text": ["6", "7", "8"]})
    rows = read_once(tmp_path, id="id")
    assert [row["text"] for row in rows if row["error"] is None] == ["1", "2", "5", "7"]
    assert [message for message in messages(rows) if message] == [
        "document id 'x' was already read at a.jsonl:1; the first is kept",
        "document id 'y' was already read at a.jsonl:2; the first is kept",
        "document id 'z' was already read at b.csv:3; the first is kept",
        "document id 'w' was already read at c.parquet:row 2; the first is kept",
    ]
    assert {row["error"]["type"] for row in rows if row["error"]} == {"DuplicateId"}


def test_rows_of_the_same_content_are_read_once(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [{"text": "a"}, {"text": "a", "n": 1}, {"text": "a"}])
    assert messages(read_once(tmp_path)) == [
        None,
        None,
        "the content was already read at a.jsonl:1; the first is kept",
    ]


def test_a_dead_row_does_not_cost_a_good_one_with_its_id(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [{"id": "x", "text": None}, {"id": "x", "text": "good"}])
    write_parquet(tmp_path / "b.parquet", {"id": ["y", "y", "y"], "text": [None, "good", "late"]})
    write_parquet(tmp_path / "c.parquet", {"id": ["z", "z"], "text": ["a", "good"], "n": [math.inf, 1.0]})
    rows = read_once(tmp_path, id="id")
    assert [row["text"] for row in rows if row["error"] is None] == ["good", "good", "good"]


def test_a_scan_of_plain_parquet_reads_no_texts(tmp_path: Path) -> None:
    columns = {"id": ["a", "b"], "text": ["1", "2"], "n": [1.0, None], "day": [date(2024, 1, 1)] * 2}
    source = SourceConfig(path=str(write_parquet(tmp_path / "a.parquet", columns)), id="id")
    scan = scan_split(plan_source(source).splits[0], source)
    assert (scan.rows, scan.dead, scan.characters) == (2, 0, None)


IDS = pa.array(["a", "b", "a"])
TEXTS = pa.array(["1", "2", "3"])


@pytest.mark.parametrize(
    "columns",
    [
        {"id": IDS, "text": TEXTS},
        {"id": pa.array([1, 2, 1]), "text": TEXTS},
        {"id": pa.array(["a", None, "a"]), "text": TEXTS},
        {"id": pa.array(["a", "", ""]), "text": TEXTS},
        {"id": pa.array([1.0, 2.0, 3.0]), "text": TEXTS},
        {"id": IDS, "text": pa.array([None, "2", "3"])},
        {"id": IDS, "text": pa.array([b"\xff", b"2", b"3"])},
        {"id": IDS, "text": TEXTS, "n": pa.array([math.inf, 1, 2])},
        {"id": IDS, "text": TEXTS, "n": pa.array([math.nan, 1, 2])},
        {"id": IDS, "text": TEXTS, "n": pa.array([10**15, 1, 2], pa.timestamp("ms"))},
        {"id": IDS, "text": TEXTS, "n": pa.array([[math.inf], [], []])},
    ],
)
def test_a_parquet_scan_finds_what_reading_finds(tmp_path: Path, columns: dict[str, pa.Array]) -> None:
    source = SourceConfig(path=str(write_parquet(tmp_path / "a.parquet", columns)), id="id")
    (split,) = plan_source(source).splits
    rows = read(source.path, id="id")
    scan = scan_split(split, source)
    alive = [number for number, row in enumerate(rows) if row["error"] is None]
    assert (scan.rows, scan.dead) == (3, 3 - len(alive))
    assert scan.positions.tolist() == alive
    distinct = {row["document_id"] for row in rows if row["error"] is None}
    repeats = duplicates_of([scan]).rows.values()
    assert sum(map(len, repeats)) == len(alive) - len(distinct)


@given(files=st.lists(st.lists(st.one_of(st.none(), st.integers(0, 6)), max_size=8), min_size=1, max_size=4))
@FILES_OF_A_TEST
def test_of_any_repeated_ids_the_first_is_alive(tmp_path: Path, files: list[list[int | None]]) -> None:
    for old in tmp_path.iterdir():
        old.unlink()
    seen: dict[int, str] = {}
    expected: list[str | None] = []
    for number, ids in enumerate(files):
        # None is a dead row of an id that others have.
        rows = [{"id": 0, "text": None} if name is None else {"id": name, "text": "a"} for name in ids]
        write_lines(tmp_path / f"{number}.jsonl", [{"id": "first", "text": "a"}, *rows] if number == 0 else rows)
        expected += [None] if number == 0 else []
        for line, name in enumerate(ids, start=2 if number == 0 else 1):
            if name is None:
                expected.append("text is null")
                continue
            first = seen.setdefault(name, f"{number}.jsonl:{line}")
            repeat = f"document id '{name}' was already read at {first}; the first is kept"
            expected.append(None if first == f"{number}.jsonl:{line}" else repeat)
    assert messages(read_once(tmp_path, id="id")) == expected


def test_a_real_corpus_is_read_whole(shared_data: Path) -> None:
    path = shared_data / "scifact-mini" / "corpus.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = read_once(path, id="_id")
    assert [(row["document_id"], row["text"], row["error"]) for row in rows] == [
        (line["_id"], line["text"], None) for line in lines
    ]
    assert json.loads(rows[0]["payload"]) == {key: lines[0][key] for key in lines[0] if key not in ("_id", "text")}
