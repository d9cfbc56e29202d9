from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from pipelines.errors import SinkError
from pipelines.rows import IMAGE_COLUMN, SOURCE_SCHEMA, RowError, add_errors, set_column
from pipelines.sinks.dead_letters import write_dead
from tests.pipelines.sinks import rows


def test_dead_rows_are_kept_with_text_and_reason_and_live_ones_are_not(tmp_path: Path) -> None:
    whole = add_errors(rows.table(rows.job(), rows.documents(5)), {3: RowError("sink", "Refused", "too odd")})
    assert write_dead(str(tmp_path), "run1", whole) == 1
    (letter,) = ds.dataset(tmp_path).to_table().to_pylist()
    assert letter == {
        "document_id": "d3",
        "chunk_no": 0,
        "origin": "d3.jsonl:1",
        "text": "text number 3",
        "payload": '{"n": 3, "tag": "t0"}',
        "error": {"stage": "sink", "type": "Refused", "message": "too odd"},
    }


def test_a_repeated_write_replaces_itself_and_others_add(tmp_path: Path) -> None:
    whole = rows.table(rows.job(), rows.documents(4))
    one, other = (add_errors(whole, {row: RowError("dense", "E", "m")}) for row in (0, 1))
    for table in (one, other, one):
        assert write_dead(str(tmp_path), "run1", table) == 1
    assert sorted(ds.dataset(tmp_path).to_table()["document_id"].to_pylist()) == ["d0", "d1"]


def test_rows_that_died_before_chunking_have_no_chunk_number(tmp_path: Path) -> None:
    row = {"document_id": None, "text": None, "payload": None, "origin": "a.jsonl:7", "error": None}
    table = add_errors(pa.Table.from_pylist([row], schema=SOURCE_SCHEMA), {0: RowError("read", "BadJson", "cut off")})
    assert write_dead(str(tmp_path), "run1", table) == 1
    (letter,) = ds.dataset(tmp_path).to_table().to_pylist()
    assert (letter["origin"], letter["chunk_no"]) == ("a.jsonl:7", None)


def test_images_are_not_kept(tmp_path: Path) -> None:
    row = {"document_id": "a.png", "payload": '{"path": "a.png"}', IMAGE_COLUMN: b"an image", "origin": "a.png"}
    table = add_errors(pa.Table.from_pylist([row], schema=SOURCE_SCHEMA), {0: RowError("image", "Damaged", "cut off")})
    assert write_dead(str(tmp_path), "run1", table) == 1
    (file,) = tmp_path.glob("*.parquet")
    assert b"an image" not in file.read_bytes() and IMAGE_COLUMN not in ds.dataset(tmp_path).schema.names
    (letter,) = ds.dataset(tmp_path).to_table().to_pylist()
    assert (letter["origin"], letter["payload"], letter["text"]) == ("a.png", '{"path": "a.png"}', None)


def test_without_dead_rows_nothing_is_written(tmp_path: Path) -> None:
    assert write_dead(str(tmp_path / "none"), "run1", rows.table(rows.job(), rows.documents(2))) == 0
    assert not (tmp_path / "none").exists()


def test_a_letter_that_parquet_does_not_take_is_kept_without_its_text(tmp_path: Path) -> None:
    whole = rows.table(rows.job(), rows.documents(5))
    texts = pa.array([b"fine", b"\xff no UTF-8", b"good", b"well", b"odd"], pa.binary())
    whole = set_column(add_errors(whole, {row: RowError("s", "E", "why") for row in (0, 1, 4)}), "text", texts)
    assert write_dead(str(tmp_path), "run1", whole) == 3
    assert write_dead(str(tmp_path), "run1", whole) == 3
    letters = {row["document_id"]: row for row in ds.dataset(tmp_path).to_table().to_pylist()}
    assert {name: row["text"] for name, row in letters.items()} == {"d0": "fine", "d1": None, "d4": "odd"}
    assert letters["d1"]["error"]["message"].startswith("why (kept without text and payload: Invalid UTF8")
    assert letters["d1"]["error"]["type"] == "E" and letters["d1"]["origin"] == "d1.jsonl:1"


def test_a_reason_that_utf8_cannot_hold_is_kept_escaped(tmp_path: Path) -> None:
    whole = rows.table(rows.job(), rows.documents(1))
    write_dead(str(tmp_path), "run1", add_errors(whole, {0: RowError.of("s", ValueError("bad \ud800"))}))
    (letter,) = ds.dataset(tmp_path).to_table().to_pylist()
    assert letter["error"]["message"] == "bad \\ud800"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    whole = add_errors(rows.table(rows.job(), rows.documents(1)), {0: RowError("s", "t", "m")})
    with pytest.raises(SinkError, match=r"dead letters cannot be written to .*file"):
        write_dead(str(tmp_path / "file"), "run1", whole)
