"""Payloads in typed columns: read by other tools, added to, given back whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from pipelines import EmbeddingPipeline
from pipelines.errors import ConfigError, SinkError
from pipelines.run.report.report import RunReport
from pipelines.sinks.parquet.payload import cut_payloads, joined_payloads, learn_columns

ROWS: list[dict[str, Any]] = [
    {"id": "a", "year": 1990, "price": 9.5, "ok": True, "tags": ["x", "y"], "day": "2024-05-01", "id_": 1},
    {
        "id": "b",
        "year": None,
        "price": 10,
        "ok": False,
        "tags": [],
        "day": "2024-05-02",
        "who": {"age": 3, "name": "Ada"},
    },
    {
        "id": "c",
        "year": 1992,
        "price": 1.5,
        "ok": True,
        "tags": None,
        "day": "2024-05-03",
        "who": {"age": None, "name": ""},
    },
]
MORE: list[dict[str, Any]] = [
    # Nothing of it fits but the day.
    {
        "id": "d",
        "year": "MCM",
        "price": "free",
        "ok": 1,
        "tags": "x",
        "day": "2024-05-04",
        "who": {"name": "Bob"},
        "new": 1,
    },
]


class Job:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, rows: list[dict[str, Any]]) -> None:
        lines = [json.dumps({**row, "text": f"text of {row['id']}", "dense": "mine", "Text": "other"}) for row in rows]
        (self.folder / "docs.jsonl").write_text("\n".join(lines))

    def config(self, payload: str = "columns", out: str = "out", **source: Any) -> dict[str, Any]:
        made = {} if source else {"embeddings": [{"name": "dense", "model": "Qdrant/bm25"}]}
        return {
            "corpus": "c",
            "source": source or {"path": str(self.folder / "docs.jsonl"), "id": "id"},
            **made,
            "sink": {"type": "parquet", "path": str(self.folder / out), "payload": payload},
            "report": str(self.folder / "report.json"),
            # A file a row.
            "compute": {"engine": "local", "block_rows": 1},
        }

    def run(self, *args: Any, **source: Any) -> RunReport:
        return EmbeddingPipeline.from_config(self.config(*args, **source)).run(console=Console(quiet=True))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    made = Job(tmp_path)
    made.write(ROWS)
    return made


def test_columns_have_types_and_all_files_the_same_ones(job: Job) -> None:
    assert len(job.run().notices) == 0
    folder = job.folder / "out"
    assert len(list(folder.glob("part-*.parquet"))) == 3
    frame = pl.read_parquet(folder).sort("document_id")
    kinds = {
        "year": pl.Int64(),
        "price": pl.Float64(),
        "ok": pl.Boolean(),
        "day": pl.Date(),
        "tags": pl.List(pl.String),
    }
    assert {name: frame.schema[name] for name in kinds} == kinds
    assert frame.schema["who"] == pl.Struct({"age": pl.Int64, "name": pl.String})
    assert frame["year"].to_list() == [1990, None, 1992] and frame["payload"].to_list() == [None] * 3
    # Names of ours, in any letter case.
    assert frame["payload_dense"].to_list() == ["mine"] * 3 and frame["payload_Text"].to_list() == ["other"] * 3
    assert frame["text"].to_list() == ["text of a", "text of b", "text of c"]
    total = duckdb.sql(f"SELECT sum(price), max(day)::VARCHAR FROM '{folder}/*.parquet' WHERE ok OR len(tags) = 0")
    assert total.fetchall() == [(21.0, "2024-05-03")]
    assert set(pd.read_parquet(folder)["id_"].dropna()) == {1}
    assert ds.dataset(folder).to_table(filter=ds.field("year") > 1990).num_rows == 1


def test_what_does_not_fit_stays_as_json_and_later_runs_keep_the_columns(job: Job) -> None:
    job.run()
    before = pl.read_parquet_schema(next((job.folder / "out").glob("*.parquet")))
    job.write([*ROWS[:2], {**ROWS[2], "year": 2000}, *MORE])
    report = job.run()
    assert (report.rows["skipped"], report.rows["written"]) == (2, 2)
    frame = pl.read_parquet(job.folder / "out").sort("document_id")
    assert frame.schema == before and frame["year"].to_list() == [1990, None, 2000, None]
    (rest,) = frame["payload"].drop_nulls()
    assert json.loads(rest) == {name: value for name, value in MORE[0].items() if name not in ("id", "day")}


def test_a_folder_with_columns_gives_the_payloads_back(job: Job) -> None:
    job.write([*ROWS, *MORE])
    notices = job.run().notices
    assert any(
        "'price' is a column of double: 1 of 4 values that were looked at are not" in notice for notice in notices
    )
    assert EmbeddingPipeline.from_config(job.config("columns", "planned")).plan().notices == [
        notice.replace("/out:", "/planned:") for notice in notices
    ]
    job.run("json", "plain")
    job.run("json", "copied", vectors=str(job.folder / "out"))
    job.run("columns", "again", vectors=str(job.folder / "copied"))
    job.run("json", "twice", vectors=str(job.folder / "again"))

    def payloads(out: str) -> dict[str, Any]:
        table = ds.dataset(job.folder / out).to_table(columns=["id", "payload", "content_hash"])
        return {row["id"]: (json.loads(row["payload"]), row["content_hash"]) for row in table.to_pylist()}

    assert payloads("copied") == payloads("plain") == payloads("twice")
    assert len(payloads("plain")) == 4


def test_the_two_ways_are_not_mixed_in_a_folder_nor_asked_of_an_export(job: Job) -> None:
    for first, second in (("columns", "json"), ("json", "columns")):
        job.run(first, first)
        with pytest.raises(SinkError, match=f"payload is kept as {first}, in this job as {second} \\(sink.payload\\)"):
            job.run(second, first)
    config = job.config()
    config["sink"]["layout"] = "qdrant"
    with pytest.raises(ConfigError, match="payload: columns goes with layout: fleetembed"):
        EmbeddingPipeline.from_config(config)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["2024-05-01T10:00:00Z", "2024-05-01T10:00:00.123456Z"], pa.timestamp("us", "UTC")),
        (["2024-05-01T10:00:00+00:00"], pa.timestamp("us", "UTC")),
        (["2024-05-01T10:00:00"], pa.timestamp("us")),
        (["2024-05-01T10:00:00", "2024-05-01T10:00:00Z"], pa.string()),
        (["2024-05-01 10:00:00", "2024-05-01T10:00:00+02:00", "20240501"], pa.string()),
        ([1, 2**63], pa.int64()),
        ([1, 2.5], pa.float64()),
        ([True, 1, 2], pa.int64()),
        ([[1], [], [None, 2]], pa.list_(pa.int64())),
        ([[{"a": 1}], [{"a": None}]], pa.list_(pa.struct([("a", pa.int64())]))),
        ([[], None], None),
        ([{}], None),
        (["\ud800", "a"], pa.string()),
    ],
)
def test_types_by_values_and_values_back(values: list[Any], kind: pa.DataType | None) -> None:
    payloads = [json.dumps({"key": value}) for value in values]
    columns, _ = learn_columns(payloads, [])
    assert [column.type for column in columns] == ([] if kind is None else [kind])
    back = joined_payloads(cut_payloads(pa.table({"payload": payloads}), columns), columns)
    assert [json.loads(one) for one in back.to_pylist()] == [{"key": value} for value in values]


SCALARS = st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(max_size=3) | st.dates().map(str) | st.datetimes().map(lambda time: f"{time.isoformat()}Z")
VALUES = st.recursive(
    SCALARS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)
PAYLOADS = st.lists(st.dictionaries(st.sampled_from(["a", "b", "A", "id", "payload_id", ""]), VALUES), max_size=8)


def alike(one: Any, other: Any) -> bool:
    """Equal, and no boolean for a number."""
    return bool(
        json.dumps(one, sort_keys=True).replace(".0", "") == json.dumps(other, sort_keys=True).replace(".0", "")
    )


@settings(max_examples=40)
@given(PAYLOADS, PAYLOADS)
def test_any_payload_comes_back_whole(learned: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    """But for a key that all rows had that were learned from: where it is missing later, it is null."""
    columns, _ = learn_columns([json.dumps(one) for one in learned], ["dense"])
    assert len({column.name.lower() for column in columns}) == len(columns)
    rows = [*learned, *others]
    table = pa.table({"payload": pa.array([json.dumps(one) for one in rows], pa.string())})
    back = joined_payloads(cut_payloads(table, columns), columns).to_pylist()
    always = {column.key: None for column in columns if column.null_is_there}
    for row, payload in zip(rows, back, strict=True):
        assert alike(json.loads(payload or "{}"), {**always, **row})
