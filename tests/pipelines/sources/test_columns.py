"""Rows that are read as columns are those that are read one by one: ids, texts, payloads, errors, hashes."""

from __future__ import annotations

import csv
import json
import math
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.config.job import JobConfig
from pipelines.embed.documents import read_rows
from pipelines.identity import content_hash, payload_hash, point_id, text_hash
from pipelines.rows import IDENTIFIED_SCHEMA
from pipelines.sources import duplicates, plan_source, read, scan_split
from pipelines.sources.json_columns import json_objects
from pipelines.sources.parts import Column
from pipelines.sources.rows import parse_payload

from .reading import FILES_OF_A_TEST, duplicates_of, write_ipc

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
IDS = st.one_of(TEXTS, st.integers(0, 2**64 + 5).map(str), st.uuids().map(str), st.just("same"))
FLOATS = st.one_of(
    st.floats(), st.sampled_from([-0.0, 1.0, 1e16, 1e15, 123456789012345678.0, 1e-4, 9.9e-5, 999999999.9999999, 5e-324])
)
NESTED = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), FLOATS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


def job(path: Path, **source: Any) -> JobConfig:
    return JobConfig.model_validate(
        {
            "source": {"path": str(path), "id": "id", **source},
            "corpus": "cörpus",
            "embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}],
            "sink": [{"type": "parquet", "path": "unused"}],
        }
    )


@contextmanager
def columns_counted(*, refused: bool) -> Iterator[list[int]]:
    """Gather how many rows became columns together; if ``refused``, none do."""
    parse = read.parse_columns
    counts: list[int] = []

    def parse_columns(columns: Any, *rest: Any) -> Any:
        found = None if refused else parse(columns, *rest)
        counts.append(0 if found is None else len(found.positions))
        return found

    # Small files are scanned by rows.
    with mock.patch.object(read, "parse_columns", parse_columns), mock.patch.object(duplicates, "FEWEST_BYTES", 0):
        yield counts


def identified(config: JobConfig, counts: list[int]) -> list[pa.Table]:
    """The rows of a source, those that repeat an id marked, in tables as they are embedded; ``counts`` are of these."""
    found = duplicates_of([scan_split(split, config.source) for split in plan_source(config.source).splits])
    counts.clear()
    splits = [(split, found.of_split(number)) for number, split in enumerate(found.splits)]
    return [table for _, table in read_rows(splits, config, block_rows=7)]


def assert_same(path: Path, **source: Any) -> int:
    """Both ways give the same tables, and the hashes of single rows; how many rows were read as columns."""
    config = job(path, **source)
    with columns_counted(refused=True) as counts:
        expected = identified(config, counts)
    with columns_counted(refused=False) as counts:
        tables = identified(config, counts)
    assert [table.num_rows for table in tables] == [table.num_rows for table in expected]
    rows = [row for table in tables for row in table.to_pylist()]
    assert rows == [row for table in expected for row in table.to_pylist()]
    for table in tables:
        assert table.schema.equals(IDENTIFIED_SCHEMA)
        table.validate(full=True)
    for row in rows:
        if row["error"] is None:
            assert row["id"] == point_id("cörpus", row["document_id"], 0, chunked=False)
            assert row["content_hash"] == content_hash(row["text"], row["payload"])
            assert (row["text_hash"], row["payload_hash"]) == (text_hash(row["text"]), payload_hash(row["payload"]))
        else:
            assert row["id"] is row["content_hash"] is None
    return sum(counts)


LINES = st.one_of(
    st.dictionaries(st.one_of(st.sampled_from(["id", "text", "a", "b"]), TEXTS), NESTED, max_size=5),
    st.fixed_dictionaries({"id": IDS, "text": TEXTS}, optional={"a": NESTED, "b": TEXTS, 'é"\n': st.integers()}),
    st.fixed_dictionaries({"id": IDS, "text": TEXTS, "a": FLOATS, "b": st.integers(-(2**63), 2**64)}),
).map(json.dumps)
ODD_LINES = st.sampled_from(
    [
        "",
        " \r",
        "{}",
        "[1]",
        "nonsense",
        '{"id": "x", "text": "\\ud800"}',
        '{"id": "x", "text": "t", "a": 1e400}',
        '{"id": "x", "text": "t", "a": NaN}',
        '{"id": "x", "text": "t", "a": 18446744073709551616}',
        '{"id": "x", "text": "t", "a": [123456789012345678901234567890]}',
        '{"id": "x", "text": "t", "a": -0, "b": -0.0}',
        '{"id": "x", "id": "y", "text": "t", "a": 1, "a": 1.0}',
        '{"id": "x", "text": "t"} {"id": "y", "text": "t"}',
        '{"id": "x", "text": "t"}, {"id": "y", "text": "t"}',
        '{"id": 3, "text": "t", "a": {"z": 1, "b": [1e16, 1.0]}}',
        '{"id": "x", "text": "t", "a": ' + "[" * 250 + "]" * 250 + "}",
        '{"id": true, "text": "t"}',
        '\ufeff{"id": "x", "text": "t"}',
    ]
)


@FILES_OF_A_TEST
@given(
    lines=st.lists(st.one_of(LINES, LINES, ODD_LINES), max_size=12),
    odd=st.binary(max_size=6),
    end=st.sampled_from([b"\n", b"\r\n"]),
    payload=st.sampled_from(["all", ["a", "b"]]),
)
@example(lines=['{"id": "x", "text": "t", "a": ' + "9" * 5000 + "}"], odd=b"", end=b"\n", payload=["b"])
def test_json_lines(tmp_path: Path, lines: list[str], odd: bytes, end: bytes, payload: Any) -> None:
    path = tmp_path / "a.jsonl"
    known = '{"id": "known", "text": "t", "a": 1, "b": 2}'
    path.write_bytes(end.join(line.encode(errors="surrogatepass") for line in [known, *lines]) + end + odd)
    assert_same(path, payload=payload)


@FILES_OF_A_TEST
@given(
    rows=st.lists(st.lists(st.one_of(TEXTS, IDS), min_size=4, max_size=4), max_size=10),
    odd=st.lists(
        st.sampled_from(
            ['"open', 'a,"b"c,d,e', "1,2", ",,,", "\r", "\n\n", "a,b\rc,d,e\n", "\udcff,t,1,2\n", "a,b,c,d,e\n"]
        ),
        max_size=3,
    ),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    deleted=st.sampled_from([None, "b"]),
)
def test_csv(tmp_path: Path, rows: list[list[str]], odd: list[str], end: str, deleted: str | None) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator=end)
        writer.writerow(["id", "text", "a", "b"])
        writer.writerows(rows[:5])
        file.write("".join(odd))
        writer.writerows(rows[5:])
    assert_same(path, deleted=deleted)


def _arrays(rows: int) -> st.SearchStrategy[pa.Array]:
    kinds: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
        (pa.string(), TEXTS),
        (pa.large_string(), TEXTS),
        (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
        (pa.uint64(), st.integers(0, 2**64 - 1)),
        (pa.float64(), FLOATS),
        (pa.float32(), st.floats(width=32)),
        (pa.bool_(), st.booleans()),
        (pa.date32(), st.dates()),
        (pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(timezone.utc))),
        (pa.duration("us"), st.timedeltas(timedelta(-9), timedelta(9))),
        (pa.decimal128(20, 3), st.decimals(-(10**9), 10**9, places=3)),
        (pa.binary(), st.one_of(TEXTS.map(str.encode), st.binary(max_size=3))),
        (pa.list_(pa.float64()), st.lists(FLOATS, max_size=3)),
        (pa.struct([("z", pa.string()), ("b", pa.int8())]), st.fixed_dictionaries({"z": TEXTS, "b": st.just(1)})),
        (pa.map_(pa.string(), pa.int64()), st.lists(st.tuples(TEXTS, st.just(1)), max_size=2)),
        (pa.dictionary(pa.int8(), pa.string()), TEXTS),
        (pa.null(), st.none()),
    ]
    values = st.sampled_from(kinds).flatmap(
        lambda kind: st.tuples(st.just(kind[0]), st.lists(kind[1] | st.none(), min_size=rows, max_size=rows))
    )
    clean = st.sampled_from(kinds).flatmap(
        lambda kind: st.tuples(st.just(kind[0]), st.lists(kind[1], min_size=rows, max_size=rows))
    )
    return (values | clean).map(lambda found: pa.array(found[1], found[0]))


def _tables(rows: int) -> st.SearchStrategy[pa.Table]:
    ids = st.lists(IDS, min_size=rows, max_size=rows).map(pa.array)
    texts = st.lists(TEXTS, min_size=rows, max_size=rows).map(pa.array)
    any_array = _arrays(rows)
    return st.tuples(st.one_of(ids, ids, any_array), st.one_of(texts, texts, any_array), any_array, any_array).map(
        lambda columns: pa.table(dict(zip(["id", "text", "a", 'é"'], columns, strict=True)))
    )


@FILES_OF_A_TEST
@given(table=st.integers(1, 9).flatmap(_tables), folder=st.sampled_from(["", "year=2024", "a=é"]))
def test_parquet_and_arrow(tmp_path: Path, table: pa.Table, folder: str) -> None:
    shutil.rmtree(tmp_path / "data", ignore_errors=True)
    place = tmp_path / "data" / folder
    place.mkdir(parents=True)
    pq.write_table(table, place / "a.parquet")
    assert_same(tmp_path / "data")
    (place / "a.parquet").unlink()
    write_ipc(place / "a.arrow", table, max_chunksize=4)
    assert_same(tmp_path / "data")


@settings(max_examples=150, deadline=None)
@given(numbers=st.lists(FLOATS | st.none(), min_size=1, max_size=20))
def test_doubles_are_written_as_python_writes_them(numbers: list[float | None]) -> None:
    finite = [None if number is not None and math.isinf(number) else number for number in numbers]
    written = json_objects({"a": Column(pa.array(finite, pa.float64()))}, len(finite)).to_pylist()
    assert written == [parse_payload({"a": number})[0] for number in finite]


CLEAN = [
    {
        "id": f"doc{number}",
        "text": f'text {number}, "quoted"\nof two lines \U0001f600',
        "title": f"title\t{number}",
        "n": -number,
        "weight": number / 7,
        "is_new": number % 2 == 0,
    }
    for number in range(3000)
]


@pytest.mark.parametrize("kind", ["parquet", "arrow", "jsonl", "csv"])
def test_clean_rows_are_all_read_as_columns(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    _write(path, CLEAN)
    assert assert_same(path) == len(CLEAN)


def test_types_that_json_has_not_are_read_as_columns(tmp_path: Path) -> None:
    columns = {
        "id": [1, 2**63 - 1, 7],
        "text": [b"bytes", "é".encode(), b""],
        "day": [date(1, 1, 1), date(9999, 12, 31), None],
        "when": [datetime(2024, 1, 2, 3, 4, 5, 6), None, datetime(2024, 1, 2)],
        "price": [Decimal("1.10"), Decimal("0.30"), None],
        "nested": [{"z": [1.0, None], "a": "é"}, None, {"z": [], "a": "\n"}],
        "name": [uuid.uuid4().bytes.hex(), None, '"\\'],
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert assert_same(tmp_path / "a.parquet") == 3


def test_an_odd_row_costs_no_other_block_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [*CLEAN, *CLEAN, *CLEAN]
    _write(path, [{**row, "id": f"{number}"} for number, row in enumerate(rows)])
    with path.open("a") as file:
        file.write("nonsense\n")
    assert 0 < assert_same(path) < len(rows)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".arrow":
        write_ipc(path, pa.Table.from_pylist(rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
