from __future__ import annotations

import json
import math
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config.source import SourceConfig
from pipelines.sources import plan_source, read_split
from tests.pipelines.sources.reading import (
    messages,
    read,
    write_parquet,
)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()]
)
def test_parquet_text_may_be_of_any_string_type(tmp_path: Path, kind: pa.DataType) -> None:
    texts = ["a", "", "é", None]
    write_parquet(tmp_path / "a.parquet", {"text": pa.array(texts, pa.string()).cast(kind)})
    rows = read(tmp_path)
    assert [row["text"] for row in rows] == texts
    assert messages(rows) == [None, None, None, "text is null"]
    assert [row["origin"] for row in rows][3] == "a.parquet:row 4"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([1], pa.uint64()), 1),
        (pa.array([1.5], pa.float32()), 1.5),
        (pa.array([math.nan]), None),
        (pa.array([[1.0, math.nan]]), [1.0, None]),
        (pa.array([True]), True),
        (pa.array([None]), None),
        (pa.array(["é"]).dictionary_encode(), "é"),
        (pa.array([{"a": [1, 2], "b": "x"}]), {"a": [1, 2], "b": "x"}),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), {"k": 1}),
        (pa.array([date(2024, 2, 29)]), "2024-02-29"),
        (pa.array([datetime(2024, 2, 29, 12, 30)]), "2024-02-29T12:30:00"),
        (pa.array([datetime(2024, 2, 29, tzinfo=timezone.utc)]), "2024-02-29T00:00:00+00:00"),
        (pa.array([1_700_000_000_000_000_001], pa.timestamp("ns")), "2023-11-14T22:13:20.000000001"),
        (pa.array([timedelta(minutes=1)]), 60.0),
        (pa.array([Decimal("1.10")]), 1.1),
        (pa.array([Decimal("0.12345678901234567890123")]), "0.12345678901234567890123"),
        (pa.array([b"bytes"]), "bytes"),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_parquet_payload_has_a_json_form(tmp_path: Path, values: pa.Array, expected: Any) -> None:
    write_parquet(tmp_path / "a.parquet", {"text": ["a"], "value": values})
    (row,) = read(tmp_path)
    assert row["error"] is None
    assert json.loads(row["payload"]) == {"value": expected}


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1.0, -math.inf, 2.0]),
        pa.array([b"a", b"\xff", b"b"]),
        pa.array([0, 10**15, 1], pa.timestamp("ms")),
    ],
    ids=lambda value: str(value.type),
)
def test_a_value_without_a_json_form_costs_its_row_only(tmp_path: Path, values: pa.Array) -> None:
    write_parquet(tmp_path / "a.parquet", {"text": ["a", "b", "c"], "value": values, "year": [1, 2, 3]})
    rows = read(tmp_path)
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert rows[1]["error"]["message"].startswith("payload column 'value': ")
    assert json.loads(rows[1]["payload"]) == {"year": 2}


def test_binary_text_that_is_not_utf8_is_dead(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"text": [b"a", b"caf\xe9"]})
    rows = read(tmp_path)
    assert messages(rows) == [None, "byte 3 of the text, 0xe9, is not UTF-8"]
    assert rows[1]["text"] == "caf\ufffd"


def test_a_file_that_is_no_parquet_is_one_dead_row(tmp_path: Path) -> None:
    good = write_parquet(tmp_path / "good.parquet", {"text": [str(n) for n in range(100)]})
    (tmp_path / "cut.parquet").write_bytes(good.read_bytes()[:-20])
    (tmp_path / "empty.parquet").touch()
    cut, empty, *rows = read(tmp_path)
    assert [row["text"] for row in rows] == [str(n) for n in range(100)]
    for row, name in ((cut, "cut.parquet"), (empty, "empty.parquet")):
        assert (row["document_id"], row["origin"], row["error"]["type"]) == (None, name, "UnreadableFile")
        assert row["error"]["message"].startswith(f"file {name} cannot be read: ")
        assert row["error"]["message"].endswith("rows in it are missing")


def test_a_damaged_row_group_costs_no_other(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "a.parquet", {"text": [f"text {n}" for n in range(300)]}, row_group_size=100, compression="zstd"
    )
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)
    rows = read(tmp_path)
    assert [row["origin"] for row in rows if row["error"] is None] == [
        f"a.parquet:row {n + 1}" for n in range(300) if not 100 <= n < 200
    ]
    (message,) = filter(None, messages(rows))
    assert "row group 1 of file a.parquet cannot be read" in message
    assert "100 rows" in message


def test_a_column_that_stands_twice_makes_the_file_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "twice.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), path)
    config = SourceConfig(path=str(path))
    (table,) = read_split(plan_source(config).splits[0], config, block_rows=8)
    (row,) = table.to_pylist()
    assert "'text' stands twice" in row["error"]["message"]


def test_a_parquet_file_in_pieces_has_the_rows_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "a.parquet", {"text": [f"text {n}" for n in range(1000)]}, row_group_size=100)
    whole = read(tmp_path)
    monkeypatch.setattr("pipelines.sources.parquet.SPLIT_BYTES", 2500)
    splits = plan_source(SourceConfig(path=str(tmp_path))).splits
    assert len(splits) > 2
    assert sum(split.rows or 0 for split in splits) == 1000
    assert read(tmp_path) == whole
    assert [row["origin"] for row in whole] == [f"a.parquet:row {n}" for n in range(1, 1001)]
