"""What is given in Python is read as files of the same content are: the same rows, ids and errors."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import ConfigError, EmbeddingPipeline, RunReport, Searcher, SourceError
from pipelines.sources.memory.unread import refuse_arguments
from tests.pipelines.sources.reading import write_lines

DOCUMENTS = [
    {
        "id": f"doc {number}",
        "text": f'text {number} with ünïcode and "quotes"\n',
        "number": number,
        "share": number / 3 if number % 3 else None,
        "kind": "even" if number % 2 == 0 else "odd",
        "tags": ["a", str(number)],
        "day": date(2024, 1, 1 + number),
    }
    for number in range(20)
]
TABLE = pa.Table.from_pylist(DOCUMENTS)
FORMS: dict[str, Callable[[], Any]] = {
    "table": lambda: TABLE,
    "table in small chunks": lambda: pa.concat_tables([TABLE.slice(at, 3) for at in range(0, 20, 3)]),
    "batch": lambda: TABLE.to_batches()[0],
    "reader": lambda: TABLE.to_reader(7),
    "pandas": lambda: TABLE.to_pandas(),
    "pandas, strings of Python": lambda: pd.DataFrame(DOCUMENTS, dtype=object),
    "pandas, categorical": lambda: TABLE.to_pandas().astype({"kind": "category"}),
    "pandas, index": lambda: TABLE.to_pandas().set_index("id"),
    "polars": lambda: pl.DataFrame(DOCUMENTS),
    "polars, lazy": lambda: pl.DataFrame(DOCUMENTS).lazy(),
    "dicts": lambda: DOCUMENTS,
    "generator": lambda: iter(DOCUMENTS),
}


def job(folder: Path, name: str, source: dict[str, Any] | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {
        "embeddings": [{"name": "bm25", "model": "Qdrant/bm25", "options": {"avg_len": 5}}],
        "sink": {"type": "parquet", "path": str(folder / name)},
        "compute": {"engine": "local"},
        "errors": {"max_rate": 1, "path": str(folder / f"{name}-dead")},
        "report": str(folder / f"{name}.json"),
    }
    return made if source is None else {**made, "source": source}


def run(folder: Path, name: str, data: Any, source: dict[str, Any] | None = None) -> RunReport:
    return EmbeddingPipeline.from_config(job(folder, name, source), source=data).run()


def points(folder: Path, name: str) -> list[dict[str, Any]]:
    return sorted(pq.read_table(folder / name).to_pylist(), key=lambda row: str(row["id"]))


def dead(folder: Path, name: str) -> dict[str, str]:
    """Reasons of dead rows by where they were read."""
    rows = pq.read_table(folder / f"{name}-dead").to_pylist()
    return {row["origin"]: row["error"]["message"] for row in rows}


def test_each_form_gives_the_points_that_a_parquet_file_gives(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "documents.parquet")
    EmbeddingPipeline.from_config(job(tmp_path, "file", {"path": str(tmp_path / "documents.parquet")})).run()
    expected = points(tmp_path, "file")
    assert len(expected) == len(DOCUMENTS)
    for name, make in FORMS.items():
        report = run(tmp_path, name, make())
        assert report.rows["written"] == len(DOCUMENTS), name
        assert points(tmp_path, name) == expected, name


def test_the_same_data_again_is_held_whatever_its_form(tmp_path: Path) -> None:
    keys = {"id": "id", "payload": ["number", "day", "kind"]}
    pq.write_table(TABLE, tmp_path / "documents.parquet")
    EmbeddingPipeline.from_config(job(tmp_path, "out", {**keys, "path": str(tmp_path / "documents.parquet")})).run()
    for name in ("table", "pandas, index", "polars", "dicts"):
        again = run(tmp_path, "out", FORMS[name](), keys)
        assert (again.rows["embedded"], again.rows["skipped"]) == (0, len(DOCUMENTS)), name


def test_dicts_are_what_json_lines_are_with_their_gaps_and_mixed_types(tmp_path: Path) -> None:
    rows: list[Any] = [
        {"text": "one", "a": 1, "b": None},
        {"text": "two", "a": 2.5},
        {"text": "three", "a": "3", "deep": {"z": [1, {"y": None}], "a": True}},
        {"text": "four", "a": 10**30},
        {"text": "two", "a": 2.5},
        {"text": 5},
        {"a": "no text"},
    ]
    path = write_lines(tmp_path / "rows.jsonl", rows)
    EmbeddingPipeline.from_config(job(tmp_path, "file", {"path": str(path)})).run()
    run(tmp_path, "given", rows)
    assert points(tmp_path, "given") == points(tmp_path, "file")
    from_file = dead(tmp_path, "file")
    assert dead(tmp_path, "given") == {
        f"list of dicts:row {origin.rpartition(':')[2]}": reason.replace("rows.jsonl:", "list of dicts:row ")
        for origin, reason in from_file.items()
    }
    assert len(from_file) == 3


def test_values_that_no_file_has_are_read_or_cost_their_own_row_alone(tmp_path: Path) -> None:
    good = {
        "uuid": UUID("6f1c1f5e-3f0e-5b52-9a39-6a2f4c0c5d11"),
        "numpy": np.float32(0.5),
        "array": np.arange(4).reshape(2, 2),
        "when": pd.Timestamp("2024-05-01 10:00", tz="Europe/Berlin"),
        "never": pd.NaT,
        "unknown": pd.NA,
        "nan": math.nan,
        "price": Decimal("1.10"),
        "inside": {"at": np.datetime64("2024-05-01T10:00:00", "ns"), "t": (1, np.int64(2))},
    }
    rows: list[Any] = [
        {"text": "good", **good},
        {"text": "bad", "set": {1, 2}},
        None,
        {"text": math.nan},
        {"text": "a surrogate \ud800"},
        {"text": "also good", 3: "a key", "x": {None: 1, np.int64(4): {True: 2}}},
        {"text": "two of one", 3: 1, "3": 2},
        {"text": "no key of JSON", "x": {(1, 2): 3}},
    ]
    run(tmp_path, "given", rows)
    payloads = {row["text"]: json.loads(row["payload"]) for row in points(tmp_path, "given")}
    assert payloads == {
        "good": {
            "uuid": "6f1c1f5e-3f0e-5b52-9a39-6a2f4c0c5d11",
            "numpy": 0.5,
            "array": [[0, 1], [2, 3]],
            "when": "2024-05-01T10:00:00+02:00",
            "never": None,
            "unknown": None,
            "nan": None,
            "price": 1.1,
            "inside": {"at": "2024-05-01T10:00:00", "t": [1, 2]},
        },
        "also good": {"3": "a key", "x": {"4": {"true": 2}, "null": 1}},
    }
    reasons = dead(tmp_path, "given")
    assert reasons["list of dicts:row 2"] == "payload column 'set': set has no JSON form"
    assert reasons["list of dicts:row 3"] == "the row is a NoneType, not a dict"
    assert reasons["list of dicts:row 4"] == "text is float, not a string"
    assert "surrogate" in reasons["list of dicts:row 5"]
    assert reasons["list of dicts:row 7"] == "the key '3' stands twice"
    assert reasons["list of dicts:row 8"].startswith("payload column 'x': keys must be str")
    assert len(reasons) == 6


def test_a_frame_may_mix_types_in_a_column_and_lack_texts(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "id": [1, "b", 3.5, None],
            "text": ["one", b"two", "three", np.nan],
            "when": pd.to_datetime(["2024-01-01", "2024-01-02", None, None]).tz_localize("UTC"),
            "value": [{"a": 1}, [2], np.array([1.5, 2.5]), None],
            "year": pd.PeriodIndex(["2024", None, "2026", "2027"], freq="Y"),
        }
    )
    run(tmp_path, "frame", frame, {"id": "id"})
    found = {row["document_id"]: json.loads(row["payload"]) for row in points(tmp_path, "frame")}
    assert found == {
        "1": {"when": datetime(2024, 1, 1, tzinfo=timezone.utc).isoformat(), "value": {"a": 1}, "year": "2024"},
        "b": {"when": datetime(2024, 1, 2, tzinfo=timezone.utc).isoformat(), "value": [2], "year": None},
    }
    assert dead(tmp_path, "frame") == {
        "pandas.DataFrame:row 3": "the id is float, not a string or an integer",
        "pandas.DataFrame:row 4": "text is null",
    }


def test_an_index_is_a_column_if_it_has_a_name(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["one", "two"]}, index=pd.Index(["x", "y"]))
    assert EmbeddingPipeline.from_config(job(tmp_path, "out"), source=frame).plan().columns == ["text"]
    levels = pd.MultiIndex.from_tuples([(1, 2), (3, 4)], names=["id", None])
    named = EmbeddingPipeline.from_config(job(tmp_path, "out", {"id": "id"}), source=frame.set_index(levels)).plan()
    assert named.columns == ["id", "text"]


def test_texts_get_ids_from_what_they_say_and_land_in_the_column_of_texts(tmp_path: Path) -> None:
    report = run(tmp_path, "texts", ["one", "two", "one", "three"], {"text": "body", "limit": 3})
    assert (report.rows["written"], report.rows["dead"]) == (2, 1)
    write_lines(tmp_path / "texts.jsonl", [{"body": "one"}, {"body": "two"}])
    EmbeddingPipeline.from_config(job(tmp_path, "file", {"path": str(tmp_path / "texts.jsonl"), "text": "body"})).run()
    assert points(tmp_path, "texts") == points(tmp_path, "file")
    assert dead(tmp_path, "texts") == {
        "list of texts:row 3": "the content was already read at list of texts:row 1; the first is kept"
    }
    arrow = pa.chunked_array([["one"], ["two"]])
    listed = (pd.Series(["one", "two"]), np.array(["one", "two"]), pl.Series(["one", "two"]), ("one", "two"))
    for texts in (*listed, arrow, arrow.combine_chunks()):
        plan = EmbeddingPipeline.from_config(job(tmp_path, "texts"), source=texts).plan()
        assert (plan.rows, plan.columns) == (2, ["text"])


def test_deletions_a_preview_and_a_plan_are_those_of_files(tmp_path: Path) -> None:
    feed = pa.table({"id": ["a", "b"], "text": ["one", "two"], "gone": [False, False]})
    keys = {"id": "id", "deleted": "gone"}
    run(tmp_path, "out", feed, keys)
    pipeline = EmbeddingPipeline.from_config(job(tmp_path, "out", keys), source=feed)
    assert list(pipeline.preview(1, all_columns=True)["origin"]) == ["pyarrow.Table:row 1"]
    plan = pipeline.plan()
    assert (plan.data, plan.rows, plan.files, plan.columns) == ("pyarrow.Table", 2, 0, ["id", "text", "gone"])
    report = run(tmp_path, "out", feed.set_column(2, "gone", [[False, True]]), keys)
    assert report.rows["deleted"] == 1
    swept = {**job(tmp_path, "out"), "source": {"id": "id"}}
    swept["sink"] = {**swept["sink"], "deletions": "sweep", "max_delete": 1}
    left = EmbeddingPipeline.from_config(swept, source=[{"id": "c", "text": "three"}]).run()
    assert (left.rows["written"], left.rows["deleted"]) == (1, 1)
    assert EmbeddingPipeline.from_config(job(tmp_path, "none"), source=[]).run().rows["read"] == 0


def test_a_given_source_takes_the_place_of_the_one_in_the_job(tmp_path: Path) -> None:
    other = {"path": "/nowhere/at/all.csv", "format": "csv", "delimiter": ";", "id": "id"}
    pipeline = EmbeddingPipeline.from_config(job(tmp_path, "out", other), source=DOCUMENTS)
    assert pipeline.run().rows["written"] == len(DOCUMENTS)
    # The configuration goes on, with its data.
    changed = EmbeddingPipeline.from_config(pipeline.config, ["source.limit=2"])
    assert changed.plan().rows == 2


def test_the_collection_of_a_job_without_a_source_is_searched(tmp_path: Path) -> None:
    searched = {**job(tmp_path, "x"), "sink": {"type": "qdrant", "path": str(tmp_path / "q"), "collection": "c"}}
    EmbeddingPipeline.from_config(searched, source=["a green apple", "a red car"]).run()
    with Searcher.from_config(searched) as searcher:
        assert searcher.search("apple")[0].payload["text"] == "a green apple"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("docs/", "a path is no data in memory; name it in the job, as source.path"),
        ({"text": ["a"]}, "for a dict of columns give pyarrow.table"),
        ([1, 2], "not a list of int; make a dict of each"),
        (5, "source: it takes a ray.data.Dataset, .* not a int"),
        (pd.DataFrame([["a", "b"]], columns=["text", "text"]), "the column 'text' stands twice"),
        (pa.table([["a"], ["b"]], names=["text", "text"]), "^source: the column 'text' stands twice"),
        (np.array("text"), "not a numpy.ndarray"),
        (pa.table({"a": [1, 2]}).select([]), "there are 2 rows without a column, and so no texts"),
        (pd.DataFrame(index=[1, 2]), "there are 2 rows without a column"),
    ],
    ids=["path", "columns", "numbers", "number", "frame", "table", "no dimension", "no columns", "index"],
)
def test_what_holds_no_rows_is_told_in_a_line(tmp_path: Path, source: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        EmbeddingPipeline.from_config(job(tmp_path, "out"), source=source)
    assert "\n" not in str(refused.value)


def test_a_column_that_is_not_there_is_missed_by_name(tmp_path: Path) -> None:
    pipeline = EmbeddingPipeline.from_config(job(tmp_path, "out", {"text": "txt"}), source=TABLE)
    with pytest.raises(SourceError, match=r"source.text: pyarrow.Table has no column 'txt'. Did you mean 'text'\?"):
        pipeline.plan()


def test_columns_of_extensions_and_views_are_read(tmp_path: Path) -> None:
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(4, dtype=np.float32).reshape(2, 2))
    table = pa.table(
        {
            "text": pa.array(["one", "two"], pa.string_view()),
            "vector": tensor,
            "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16, b"1" * 16], pa.binary(16))),
        }
    )
    run(tmp_path, "out", table)
    assert {row["text"]: json.loads(row["payload"]) for row in points(tmp_path, "out")} == {
        "one": {"uuid": str(UUID(bytes=b"0" * 16)), "vector": [0, 1]},
        "two": {"uuid": str(UUID(bytes=b"1" * 16)), "vector": [2, 3]},
    }


def failing_rows() -> Iterator[dict[str, Any]]:
    yield {"id": "1", "text": "a"}
    raise RuntimeError("the line is dead\nand more about it")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (failing_rows, "source: the generator could not be read: RuntimeError: the line is dead"),
        (
            lambda: pa.RecordBatchReader.from_batches(
                TABLE.schema, (batch for _ in failing_rows() for batch in TABLE.to_batches())
            ),
            "source: the pyarrow.RecordBatchReader could not be read: RuntimeError: the line is dead",
        ),
        (
            lambda: pl.LazyFrame({"text": ["a"]}).select("nope"),
            "source: the polars.LazyFrame could not be read: ColumnNotFoundError: unable to find column .nope.[^\n]*",
        ),
    ],
    ids=["generator", "reader", "lazy frame"],
)
def test_what_fails_while_it_is_read_is_told_in_a_line(tmp_path: Path, source: Callable[[], Any], message: str) -> None:
    with pytest.raises(SourceError, match=f"^{message}$") as refused:
        EmbeddingPipeline.from_config(job(tmp_path, "out"), source=source())
    assert refused.value.__cause__ is not None


def test_rows_that_hold_themselves_cost_no_other_row(tmp_path: Path) -> None:
    inside: dict[str, Any] = {"id": "1", "text": "t"}
    inside["self"] = inside
    deep: list[Any] = []
    for _ in range(2000):
        deep = [deep]
    rows = [inside, {"id": "2", "text": "t", "deep": deep}, {"id": "3", "text": "t"}]
    table = EmbeddingPipeline.from_config({**job(tmp_path, "x"), "errors": {"max_rate": 1}}, source=rows).to_arrow()
    messages = [error and error["message"] for error in table["error"].to_pylist()]
    assert messages == ["the row is nested too deeply"] * 2 + [None]


def test_texts_that_pandas_lacks_are_null(tmp_path: Path) -> None:
    given = pd.Series([float("nan"), "a", None], dtype=object)
    table = EmbeddingPipeline.from_config({**job(tmp_path, "x"), "errors": {"max_rate": 1}}, source=given).to_arrow()
    assert [error and error["message"] for error in table["error"].to_pylist()] == [
        "text is null",
        None,
        "text is null",
    ]


def test_a_date_that_python_cannot_hold_keeps_its_digits(tmp_path: Path) -> None:
    run(tmp_path, "out", [{"text": "t", "day": np.datetime64("200000-01-01")}])
    assert json.loads(points(tmp_path, "out")[0]["payload"]) == {"day": "200000-01-01"}


def test_a_misspelt_argument_of_a_reader_that_passes_others_on_is_named() -> None:
    def read(paths: str, **others: Any) -> None: ...

    with pytest.raises(ConfigError, match="'paths'; 'pths' is there, did you mean 'paths'"):
        refuse_arguments(read, {"pths": "x"})
