"""Columns in the names of folders, compared with pyarrow's hive flavour."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config.source import SourceConfig
from pipelines.errors import SourceError
from pipelines.sources import plan_source
from pipelines.sources.partitions import partitions_of
from tests.pipelines.sources.reading import (
    FILES_OF_A_TEST,
    messages,
    read,
    read_once,
    write_ipc,
    write_lines,
    write_parquet,
)

FORMATS = ["parquet", "jsonl", "csv", "arrow", "arrows"]


def write_table(path: Path, columns: dict[str, list[Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        return write_parquet(path, columns)
    if path.suffix in (".arrow", ".arrows"):
        return write_ipc(path, columns, stream=path.suffix == ".arrows")
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if path.suffix == ".jsonl":
        return write_lines(path, rows)
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, row.values())) for row in rows)]) + "\n")
    return path


def payloads(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [json.loads(row["payload"]) for row in rows]


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("path", ["data", "data/*", "data/year=*/*", "data/**", "data/year=*/p.*"])
def test_partitions_are_columns_of_every_table(tmp_path: Path, ending: str, path: str) -> None:
    for year in (2024, 2025):
        write_table(tmp_path / f"data/year={year}/p.{ending}", {"id": [f"d{year}"], "text": [f"text of {year}"]})
    rows = read(f"{tmp_path}/{path}", id="id")
    assert [(row["document_id"], json.loads(row["payload"])) for row in rows] == [
        ("d2024", {"year": 2024}),
        ("d2025", {"year": 2025}),
    ]
    assert payloads(read(f"{tmp_path}/{path}", id="id", payload=["year"])) == [{"year": 2024}, {"year": 2025}]
    assert payloads(read(f"{tmp_path}/{path}", id="id", payload=[])) == [{}, {}]


@pytest.mark.parametrize("ending", FORMATS)
def test_id_and_text_may_be_partitions(tmp_path: Path, ending: str) -> None:
    write_table(tmp_path / f"data/day=3/label=2024/p.{ending}", {"n": [1]})
    write_table(tmp_path / f"data/day=4/label=a%20b/p.{ending}", {"n": [2]})
    rows = read_once(tmp_path, id="day", text="label", payload=[])
    assert messages(rows) == [None, None]
    assert [(row["document_id"], row["text"], row["payload"]) for row in rows] == [
        ("3", "2024", "{}"),
        ("4", "a b", "{}"),
    ]


def test_a_text_of_digits_is_a_text(tmp_path: Path) -> None:
    write_table(tmp_path / "label=7/p.parquet", {"n": [1]})
    assert [row["text"] for row in read(tmp_path, text="label")] == ["7"]


def test_nested_partitions_of_several_types(tmp_path: Path) -> None:
    write_table(tmp_path / "year=2024/month=01/p.parquet", {"text": ["a"]})
    write_table(tmp_path / "year=2025/month=__HIVE_DEFAULT_PARTITION__/lang=de/p.parquet", {"text": ["b"]})
    write_table(tmp_path / "loose.parquet", {"text": ["c"]})
    assert {row["text"]: json.loads(row["payload"]) for row in read(tmp_path)} == {
        "a": {"year": 2024, "month": 1},
        "b": {"year": 2025, "month": None, "lang": "de"},
        "c": {},
    }


def test_a_null_id_is_made_from_the_content(tmp_path: Path) -> None:
    write_table(tmp_path / "id=__HIVE_DEFAULT_PARTITION__/p.parquet", {"text": ["a"]})
    (row,) = read(tmp_path, id="id")
    assert row["error"] is None and len(row["document_id"]) == 32


def test_a_file_of_its_own_column_keeps_it(tmp_path: Path) -> None:
    write_table(tmp_path / "year=2024/own.parquet", {"text": ["a"], "year": ["MMXXIV"]})
    write_table(tmp_path / "year=2024/without.parquet", {"text": ["b"]})
    write_lines(
        tmp_path / "year=2024/rows.jsonl", [{"text": "c", "year": 1}, {"text": "d"}, {"text": "e", "year": None}]
    )
    assert {row["text"]: json.loads(row["payload"])["year"] for row in read(tmp_path)} == {
        "a": "MMXXIV",
        "b": 2024,
        "c": 1,
        "d": 2024,
        "e": None,
    }


def test_rows_that_differ_in_their_partition_alone_are_two_documents(tmp_path: Path) -> None:
    for year in (2024, 2025):
        write_table(tmp_path / f"year={year}/p.parquet", {"text": ["same"]})
    rows = read_once(tmp_path)
    assert messages(rows) == [None, None]
    assert len({row["document_id"] for row in rows}) == 2


def test_what_the_source_names_itself_is_no_partition(tmp_path: Path) -> None:
    file = write_table(tmp_path / "year=2024/month=1/p.parquet", {"text": ["a"]})
    assert payloads(read(file)) == [{}]
    assert payloads(read(tmp_path / "year=2024")) == [{"month": 1}]
    assert payloads(read(f"{tmp_path}/year=2024/m*/p.parquet")) == [{"month": 1}]


def test_documents_have_no_partitions(tmp_path: Path) -> None:
    (tmp_path / "lang=de").mkdir()
    (tmp_path / "lang=de" / "a.txt").write_text("a")
    (row,) = read(tmp_path)
    assert (row["document_id"], json.loads(row["payload"])) == ("lang=de/a.txt", {"path": "lang=de/a.txt"})


def test_a_column_that_is_nowhere_is_told_beside_those_of_folders(tmp_path: Path) -> None:
    write_table(tmp_path / "year=2024/p.parquet", {"text": ["a"]})
    with pytest.raises(SourceError, match=r"no file has a column 'yaer'\. Did you mean 'year'\? There are: text, year"):
        plan_source(SourceConfig(path=str(tmp_path), payload=["yaer"]))


def test_a_limit_counts_rows_of_partitions(tmp_path: Path) -> None:
    for year in (2024, 2025):
        write_table(tmp_path / f"year={year}/p.jsonl", {"text": ["a", "b"]})
    assert payloads(read(tmp_path, limit=3)) == [{"year": 2024}, {"year": 2024}, {"year": 2025}]


SEGMENT = st.sampled_from(
    [
        "2024",
        "-1",
        "007",
        "0x1F",
        "+1",
        " 1",
        "3000000000",
        "x",
        "1.5",
        "true",
        "a%20b",
        "a=b",
        "",
        "%C3%BC",
        "ü",
        "1_0",
    ]
)


@FILES_OF_A_TEST
@given(values=st.lists(SEGMENT, min_size=1, max_size=4, unique=True), null=st.booleans())
def test_values_are_those_of_pyarrow(tmp_path_factory: pytest.TempPathFactory, values: list[str], null: bool) -> None:
    root = tmp_path_factory.mktemp("hive")
    names = [*values, *(["__HIVE_DEFAULT_PARTITION__"] if null else [])]
    for number, name in enumerate(names):
        write_table(root / f"k%20y={name}" / "n=1" / "p.parquet", {"id": [str(number)], "text": ["a"]})
    expected = ds.dataset(root, partitioning="hive").to_table().select(["id", "k y", "n"]).to_pylist()
    found = [{"id": row["document_id"], **json.loads(row["payload"])} for row in read(root, id="id")]
    assert sorted(found, key=lambda row: row["id"]) == sorted(expected, key=lambda row: row["id"])


def test_of_a_key_that_stands_twice_the_first_counts_as_for_pyarrow(tmp_path: Path) -> None:
    write_table(tmp_path / "k=1/k=2/p.parquet", {"text": ["a"]})
    assert payloads(read(tmp_path)) == [{"k": 1}]
    assert ds.dataset(tmp_path, partitioning="hive").to_table()["k"].to_pylist() == [1]


def test_where_pyarrow_takes_the_folders_column_for_the_files_own_the_file_counts_here(tmp_path: Path) -> None:
    write_parquet((tmp_path / "k=x").mkdir() or tmp_path / "k=x" / "p.parquet", {"text": ["a"], "k": ["own"]})
    assert ds.dataset(tmp_path, partitioning="hive").to_table()["k"].to_pylist() == ["x"]
    assert payloads(read(tmp_path)) == [{"k": "own"}]
    write_parquet(tmp_path / "k=x" / "p.parquet", {"text": ["a"], "k": [5]})
    with pytest.raises(pa.ArrowTypeError, match="incompatible types"):
        ds.dataset(tmp_path, partitioning="hive").to_table()
    assert payloads(read(tmp_path)) == [{"k": 5}]


def test_bytes_that_are_not_utf8_once_decoded_stay_encoded() -> None:
    assert partitions_of(["k=%FF/a", "=3/b", "x/c"]) == [(("k", "%FF"),), (), ()]
