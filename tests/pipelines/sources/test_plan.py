from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest

from pipelines.config.source import SourceConfig
from pipelines.errors import SourceError
from pipelines.sources import plan_source
from tests.pipelines.sources.reading import (
    messages,
    read,
    read_once,
    write_ipc,
    write_lines,
    write_parquet,
)


def test_a_folder_is_read_with_all_below_it_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.md", "a/y.rst", "_SUCCESS.txt", ".hidden/x.txt", "a/_temporary/x.txt", "c.bin", "d.svg"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    assert [row["document_id"] for row in read(tmp_path)] == ["a/y.rst", "a/z.md", "b.txt"]
    assert plan_source(SourceConfig(path=str(tmp_path))).skipped_files == 2


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.txt", ["1.txt", "2.txt"]),
        ("?.txt", ["1.txt", "2.txt"]),
        ("[2-9].txt", ["2.txt"]),
        ("*/*.txt", ["a/3.txt"]),
        ("**/*.txt", ["1.txt", "2.txt", "a/3.txt", "a/b/4.txt"]),
        ("a/**/*.txt", ["3.txt", "b/4.txt"]),
    ],
)
def test_a_glob_names_files_by_their_path_below_its_fixed_part(tmp_path: Path, pattern: str, names: list[str]) -> None:
    for name in ("1.txt", "2.txt", "a/3.txt", "a/b/4.txt", "a/5.bin"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    assert [row["document_id"] for row in read(f"{tmp_path}/{pattern}")] == names


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").write_text("brackets")
    (tmp_path / "a1.txt").write_text("none")
    assert [row["text"] for row in read(tmp_path / "a[1].txt")] == ["brackets"]


def test_a_file_that_two_paths_name_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    paths = [str(tmp_path / "b.txt"), str(tmp_path), f"{tmp_path}/*.txt"]
    assert [row["document_id"] for row in read(paths)] == ["b.txt", "a.txt"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("absent.jsonl", "there is no such file or folder$"),
        ("emtpy", "there is no such file or folder; did you mean 'empty'\\?$"),
        (
            "absent/*.jsonl",
            "there is no such file: nothing matches this glob; names that begin with '.' or '_' are passed",
        ),
        ("empty", "there is no file in this folder; names that begin with '.' or '_' are passed over$"),
    ],
)
def test_a_path_without_files_is_an_error_that_names_it_and_says_why(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=rf"^source\.path {re.escape(f'{tmp_path}/{name}')}: {why}"):
        plan_source(SourceConfig(path=f"{tmp_path}/{name}"))


def test_a_file_of_unknown_kind_needs_a_format(tmp_path: Path) -> None:
    write_lines(tmp_path / "part-0000", [{"text": "a"}])
    with pytest.raises(SourceError, match=r"set source\.format to what it holds: parquet, jsonl, csv, text, image, "):
        plan_source(SourceConfig(path=str(tmp_path / "part-0000")))
    with pytest.raises(SourceError, match=r"set source\.format"):
        plan_source(SourceConfig(path=str(tmp_path)))
    assert [row["text"] for row in read(tmp_path, format="jsonl")] == ["a"]


def test_a_given_format_passes_over_files_of_another_in_a_folder(tmp_path: Path) -> None:
    write_lines(tmp_path / "part-0000", [{"text": "a"}])
    (tmp_path / "README.md").write_text("about the data")
    assert [row["text"] for row in read(tmp_path, format="jsonl")] == ["a"]
    assert plan_source(SourceConfig(path=str(tmp_path), format="jsonl")).skipped_files == 1


def test_a_folder_may_mix_formats(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [{"text": "json"}])
    (tmp_path / "b.csv").write_text("text\ncsv\n")
    write_parquet(tmp_path / "c.parquet", {"text": ["parquet"]})
    (tmp_path / "d.txt").write_text("text")
    assert [row["text"] for row in read(tmp_path)] == ["json", "csv", "parquet", "text"]


def test_urls_of_pyarrow_and_of_fsspec_are_read(tmp_path: Path) -> None:
    write_lines(tmp_path / "a b.jsonl", [{"text": "local"}])
    assert [row["origin"] for row in read(f"{tmp_path.as_uri()}")] == ["a b.jsonl:1"]
    memory = fsspec.filesystem("memory")
    memory.pipe("/corpus/x/1.jsonl", b'{"text": "remote"}\n')
    memory.pipe("/corpus/2.txt", b"flat")
    try:
        for path in ("memory://corpus", "memory://corpus/**"):
            assert [(row["origin"], row["text"]) for row in read(path)] == [
                ("2.txt", "flat"),
                ("x/1.jsonl:1", "remote"),
            ]
    finally:
        memory.rm("/corpus", recursive=True)


def test_credentials_in_a_url_are_not_shown() -> None:
    with pytest.raises(SourceError, match=r"^source\.path memory://nowhere/\*\.jsonl: there is no such file") as caught:
        plan_source(SourceConfig(path="memory://user:secret@nowhere/*.jsonl"))
    assert "secret" not in str(caught.value)


def test_files_of_one_name_keep_their_origins_apart(tmp_path: Path) -> None:
    paths = [str(write_lines(tmp_path / folder / "x.jsonl", [{"text": folder}])) for folder in ("a", "b")]
    assert [row["origin"] for row in read(paths)] == [f"{path}:1" for path in paths]


def test_text_files_that_would_share_an_id_are_an_error(tmp_path: Path) -> None:
    for folder in ("de", "en"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "index.md").write_text(folder)
    with pytest.raises(SourceError, match=r"index\.md.*folder above both"):
        plan_source(SourceConfig(path=[str(tmp_path / "de"), str(tmp_path / "en")]))
    assert [row["document_id"] for row in read(tmp_path)] == ["de/index.md", "en/index.md"]


def test_empty_files_have_no_rows(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.csv", "c.jsonl.gz", "d.jsonl.zst", "e.jsonl.bz2"):
        (tmp_path / name).touch()
    (tmp_path / "f.csv").write_text("id,text\n")
    write_parquet(tmp_path / "g.parquet", {"text": pa.array([], pa.string())})
    assert read(tmp_path) == []


def test_a_misspelt_column_of_deletions_is_refused_where_a_header_tells_it(tmp_path: Path) -> None:
    (tmp_path / "feed.csv").write_text("id,text,gone\na,x,false\nb,,true\n")
    with pytest.raises(SourceError, match=r"source\.deleted: no file has a column 'gonn'\. Did you mean 'gone'\?"):
        plan_source(SourceConfig(path=str(tmp_path), id="id", deleted="gonn"))
    # Rows of JSON lines have it where they are deletions, and these may come late; each row has an id.
    (tmp_path / "feed.jsonl").write_text('{"id": "a", "text": "x"}\n')
    feed = SourceConfig(path=str(tmp_path / "feed.jsonl"), id="id", deleted="gone")
    assert plan_source(feed).files == 1
    with pytest.raises(SourceError, match=r"source\.id: no file has a column 'key'"):
        plan_source(feed.model_copy(update={"id": "key"}))


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv", "arrow", "arrows"])
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"text": "txet"}, r"source\.text: no file has a column 'txet'\. Did you mean 'text'\? There are: id, text"),
        ({"id": "key"}, r"source\.id: no file has a column 'key'\. There are: id, text"),
        ({"payload": ["title", "yaer"]}, r"source\.payload: no file has a column 'yaer'\. Did you mean 'year'\?"),
    ],
)
def test_a_column_that_is_nowhere_is_an_error(
    tmp_path: Path, ending: str, config: dict[str, Any], message: str
) -> None:
    row = {"id": "1", "text": "a", "title": "b", "year": "1999"}
    if ending == "parquet":
        write_parquet(tmp_path / "a.parquet", {name: [value] for name, value in row.items()})
    elif ending in ("arrow", "arrows"):
        columns = {name: [value] for name, value in row.items()}
        write_ipc(tmp_path / f"a.{ending}", columns, stream=ending == "arrows")
    elif ending == "csv":
        (tmp_path / "a.csv").write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n")
    else:
        write_lines(tmp_path / "a.jsonl", [row])
    with pytest.raises(SourceError, match=message):
        plan_source(SourceConfig(path=str(tmp_path), **config))


def test_a_column_need_not_be_in_every_file(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [{"body": "a"}])
    (tmp_path / "b.parquet").write_bytes(b"no parquet at all")
    write_parquet(tmp_path / "c.parquet", {"text": ["c"], "year": [1999]})
    rows = read(tmp_path, payload=["year"])
    assert [row["text"] for row in rows] == [None, None, "c"]
    assert messages(rows)[0] == "the row has no column 'text'"
    assert json.loads(rows[2]["payload"]) == {"year": 1999}


@pytest.mark.parametrize("limit", [1, 5, 6, 12, 100])
def test_limit_takes_the_first_rows_in_the_order_of_the_plan(tmp_path: Path, limit: int) -> None:
    write_parquet(tmp_path / "a.parquet", {"text": [f"a{n}" for n in range(5)]}, row_group_size=2)
    write_lines(tmp_path / "b.jsonl", [{"text": f"b{n}"} for n in range(5)])
    (tmp_path / "c.csv").write_text("text\nc0\nc1\nc2\n")
    texts = [row["text"] for row in read(tmp_path)]
    assert [row["text"] for row in read(tmp_path, limit=limit)] == texts[:limit]
    assert [row["text"] for row in read_once(tmp_path, limit=limit)] == texts[:limit]
