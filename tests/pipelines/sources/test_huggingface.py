"""Folders are written after the layout of the datasets library, which read them as they are read here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from pyarrow import ipc

from pipelines.config.source import SourceConfig
from pipelines.errors import SourceError
from pipelines.sources import plan_source
from tests.pipelines.sources.images.images import picture
from tests.pipelines.sources.reading import messages, read, read_once, write_ipc, write_lines

ZSTD = b"\x28\xb5\x2f\xfd"
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def save(folder: Path, columns: dict[str, Any], *, shards: int = 1, indices: Sequence[int] | None = None) -> Path:
    """Save a dataset as ``Dataset.save_to_disk`` does; with ``indices``, as that of datasets 1.9 does."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    names = (
        [f"data-{shard:05}-of-{shards:05}.arrow" for shard in range(shards)] if indices is None else ["dataset.arrow"]
    )
    bounds = [table.num_rows * shard // len(names) for shard in range(len(names) + 1)] if names else []
    for name, start, stop in zip(names, bounds[:-1], bounds[1:], strict=True):
        write_ipc(folder / name, table.slice(start, stop - start), stream=True, max_chunksize=2)
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": "9a973cbf0f2835a2",
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    if indices is not None:
        write_ipc(folder / "indices.arrow", {"indices": pa.array(indices, pa.uint64())}, stream=True)
        state["_indices_data_files"] = [{"filename": "indices.arrow"}]
    (folder / "state.json").write_text(json.dumps(state, indent=2, sort_keys=True))
    features = {name: {"dtype": "string", "_type": "Value"} for name in columns}
    info = {"citation": "", "description": "", "features": features, "homepage": "", "license": ""}
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=2))
    return folder


def save_dict(folder: Path, **splits: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
    for name, columns in splits.items():
        save(folder / name, columns)
    return folder


def texts(path: Path | str, **config: Any) -> list[str]:
    return [row["text"] for row in read_once(path, **config)]


def test_a_dataset_has_the_rows_of_its_files_in_order(tmp_path: Path) -> None:
    columns = {"id": [f"n{n}" for n in range(7)], "text": [f"text {n}" for n in range(7)], "label": [0, 1] * 3 + [0]}
    save(tmp_path, columns, shards=3)
    # What Dataset.map leaves beside a dataset that was loaded from here.
    write_ipc(tmp_path / "cache-7784806802b9e05d.arrow", {"id": ["x"], "text": ["cached"]}, stream=True)
    rows = read_once(tmp_path, id="id")
    assert [(row["document_id"], row["text"]) for row in rows] == list(zip(columns["id"], columns["text"], strict=True))
    assert [row["origin"] for row in rows][:3] == [
        "data-00000-of-00003.arrow:row 1",
        "data-00000-of-00003.arrow:row 2",
        "data-00001-of-00003.arrow:row 1",
    ]
    assert rows[1]["payload"] == '{"label": 1}'
    assert messages(rows) == [None] * 7
    plan = plan_source(SourceConfig(path=str(tmp_path)))
    assert (len(plan.splits), plan.files, plan.skipped_files) == (3, 3, 0)
    assert sum(split.bytes for split in plan.splits) == sum(file.stat().st_size for file in tmp_path.glob("data-*"))
    assert texts(tmp_path, limit=4) == ["text 0", "text 1", "text 2", "text 3"]


def test_a_dict_of_datasets_has_the_rows_of_those_it_names(tmp_path: Path) -> None:
    save_dict(tmp_path, train={"text": ["a", "b"]}, test={"text": ["c"]})
    # A split of a dict that was there before.
    save(tmp_path / "old", {"text": ["old"]})
    assert [(row["text"], row["origin"]) for row in read(tmp_path)] == [
        ("c", "test/data-00000-of-00001.arrow:row 1"),
        ("a", "train/data-00000-of-00001.arrow:row 1"),
        ("b", "train/data-00000-of-00001.arrow:row 2"),
    ]
    assert texts(tmp_path / "train") == ["a", "b"]
    assert texts(tmp_path / "old") == ["old"]


@pytest.mark.parametrize("path", [".", "*", "sets", "sets/*", "sets/**", "**"])
def test_datasets_are_found_below_folders_and_globs(tmp_path: Path, path: str) -> None:
    save_dict(tmp_path / "sets" / "b", train={"text": ["b"]})
    save(tmp_path / "sets" / "a", {"text": ["a"]})
    save(tmp_path / "sets" / "c", {"text": pa.array([], pa.string())}, shards=0)
    write_lines(tmp_path / "d.jsonl", [{"text": "d"}])
    (tmp_path / "sets" / "e.json").write_text('{"text": "e"}')
    expected = {"sets": ["a", "b", "e"], "sets/*": ["a", "b", "e"], "sets/**": ["a", "b", "e"]}
    assert sorted(texts(f"{tmp_path}/{path}")) == expected.get(path, ["a", "b", "d", "e"])
    assert plan_source(SourceConfig(path=f"{tmp_path}/{path}")).skipped_files == 0


def test_a_glob_that_matches_datasets_reads_them(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"part-{number}", {"text": [f"{number}"]})
    assert texts(f"{tmp_path}/part-*") == ["0", "1", "2"]
    assert texts(f"{tmp_path}/part-[12]") == ["1", "2"]
    assert [row["origin"] for row in read(f"{tmp_path}/part-1*")] == ["part-1/data-00000-of-00001.arrow:row 1"]


def test_who_asks_for_the_json_or_the_arrow_files_gets_these(tmp_path: Path) -> None:
    save(tmp_path, {"text": ["a"]})
    (tmp_path / "state.json").write_text('{"text": "state"}')
    (tmp_path / "dataset_info.json").write_text('{"text": "info"}')
    assert texts(f"{tmp_path}/*.json") == ["info", "state"]
    assert texts(tmp_path / "state.json") == ["state"]
    assert texts(tmp_path, format="jsonl") == ["info", "state"]
    assert texts(f"{tmp_path}/*.arrow") == ["a"]
    assert texts(tmp_path, format="arrow") == ["a"]


def test_where_the_format_is_given_other_files_are_passed_over(tmp_path: Path) -> None:
    save(tmp_path / "a", {"text": ["a"]})
    write_lines(tmp_path / "b.jsonl", [{"text": "b"}])
    (tmp_path / "c").write_text("c")
    assert texts(tmp_path, format="huggingface") == ["a"]
    assert plan_source(SourceConfig(path=str(tmp_path), format="huggingface")).skipped_files == 2
    assert texts(tmp_path / "a" / "state.json", format="huggingface") == ["a"]
    with pytest.raises(SourceError, match="none of which has"):
        plan_source(SourceConfig(path=f"{tmp_path}/[bc]*", format="huggingface"))


def test_image_features_are_images(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.png").write_bytes(picture(2))
    values = [{"bytes": picture(1), "path": "1.png"}, {"bytes": None, "path": "elsewhere.png"}, None]
    save(tmp_path, {"image": pa.array(values, IMAGE), "text": ["a", "b", "c"]})
    rows = read(tmp_path, image="image")
    assert [row["_image"] for row in rows] == [picture(1), picture(2), None]
    assert [json.loads(row["payload"]) for row in rows] == [{"image": "1.png"}, {"image": "elsewhere.png"}, {}]


def test_indices_choose_the_rows(tmp_path: Path) -> None:
    columns = {"id": [f"n{n}" for n in range(7)], "text": [f"text {n}" for n in range(7)]}
    save(tmp_path / "chosen", columns, indices=[5, 2, 2, 6])
    rows = read_once(tmp_path / "chosen", id="id")
    assert [(row["document_id"], row["origin"]) for row in rows] == [
        ("n2", "chosen:row 1"),
        ("n2", "chosen:row 2"),
        ("n5", "chosen:row 3"),
        ("n6", "chosen:row 4"),
    ]
    assert messages(rows) == [
        None,
        "document id 'n2' was already read at chosen:row 1; the first is kept",
        None,
        None,
    ]
    assert read(tmp_path)[0]["origin"] == "chosen:row 1"
    save(tmp_path / "chosen", columns, indices=[1, 7])
    live, dead = read(tmp_path, id="id")
    assert live["document_id"] == "n1"
    assert "its indices name row 7, but its files have 7 rows" in dead["error"]["message"]
    write_ipc(tmp_path / "chosen" / "indices.arrow", {"indices": ["a"]}, stream=True)
    assert "indices.arrow is no column of row numbers" in str(messages(read(tmp_path)))


def test_behind_what_is_damaged_indices_choose_no_wrong_rows(tmp_path: Path) -> None:
    columns = {"id": [f"d{n}" for n in range(8)], "text": [f"text {n}" for n in range(8)]}
    save(tmp_path, columns, shards=2)
    state = json.loads((tmp_path / "state.json").read_text())
    write_ipc(tmp_path / "indices.arrow", {"indices": [1, 5]}, stream=True)
    (tmp_path / "state.json").write_text(json.dumps({**state, "_indices_data_files": [{"filename": "indices.arrow"}]}))
    first = tmp_path / "data-00000-of-00002.arrow"
    assert [row["document_id"] for row in read_once(tmp_path, id="id")] == ["d1", "d5"]
    # As a file with a footer, each batch is read alone: of the last one nobody can tell how many rows it had.
    with ipc.new_file(
        first, (table := pa.table(columns)).schema, options=ipc.IpcWriteOptions(compression="zstd")
    ) as writer:
        writer.write_table(table.slice(0, 4), max_chunksize=2)
    data = first.read_bytes()
    start = data.rindex(ZSTD, 0, data.rindex(ZSTD, 0, data.rindex(ZSTD, 0, data.rindex(ZSTD))))
    first.write_bytes(data[:start] + data[start:].replace(ZSTD, b"none"))
    rows = read_once(tmp_path, id="id")
    assert [row["document_id"] for row in rows if not row["error"]] == ["d1"]
    assert "behind what is damaged of data-00000-of-00002.arrow" in rows[-1]["error"]["message"]


def test_a_split_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    save_dict(tmp_path, train={"text": ["a"]}, test={"text": ["c"]})
    (tmp_path / "test" / "state.json").unlink()
    with pytest.raises(
        SourceError, match=r"dataset_dict\.json names the split 'test', of which there is no whole folder"
    ):
        plan_source(SourceConfig(path=str(tmp_path)))
    assert texts(tmp_path / "train") == ["a"]
    for content in ("{", "[]", '{"splits": 5}', '{"other": []}', '{"splits": [5]}'):
        (tmp_path / "dataset_dict.json").write_text(content)
        with pytest.raises(SourceError, match=r"dataset_dict\.json does not name the splits of a dataset"):
            plan_source(SourceConfig(path=str(tmp_path)))


def test_a_file_that_is_missing_or_damaged_costs_no_other(tmp_path: Path) -> None:
    save(tmp_path, {"text": list("abcdef")}, shards=3)
    (tmp_path / "data-00000-of-00003.arrow").unlink()
    last = tmp_path / "data-00002-of-00003.arrow"
    last.write_bytes(last.read_bytes()[:-8])
    rows = read_once(tmp_path)
    assert [row["text"] for row in rows] == [None, "c", "d", "e", "f", None]
    assert [row["origin"] for row in rows if row["error"]] == [
        "data-00000-of-00003.arrow",
        "data-00002-of-00003.arrow",
    ]
    assert "no end mark" in rows[-1]["error"]["message"]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("{", "it is no JSON"),
        ("[1]", "it is a list, not an object"),
        ("{}", "it names no _data_files"),
        ('{"_data_files": 5}', "_data_files is no list of file names"),
        ('{"_data_files": ["a"]}', "_data_files is no list of file names"),
        ('{"_data_files": [{"name": "a"}]}', "_data_files is no list of file names"),
        ('{"_data_files": [{"filename": "../a.arrow"}]}', "_data_files names '../a.arrow', which is no file of this"),
        (
            '{"_data_files": [{"filename": "/a.arrow"}]}',
            "_data_files names '/a.arrow', which is no file of this folder",
        ),
        ('{"_data_files": [{"filename": "a.arrow", "skip": 0, "take": 9}]}', "_data_files names a part of 'a.arrow'"),
    ],
)
def test_a_state_that_cannot_be_used_is_a_dead_row(tmp_path: Path, state: str, message: str) -> None:
    save(tmp_path / "a", {"text": ["a"]})
    save(tmp_path / "b", {"text": ["b"]})
    (tmp_path / "a" / "state.json").write_text(state)
    dead, live = read_once(tmp_path)
    assert live["text"] == "b"
    assert dead["origin"].endswith("a/state.json")
    assert f"cannot be read: {message}" in dead["error"]["message"]


def test_columns_are_checked_before_a_run(tmp_path: Path) -> None:
    save(tmp_path, {"txt": ["a"]}, shards=1)
    with pytest.raises(SourceError, match=r"source\.text: no file has a column 'text'\. Did you mean 'txt'\?"):
        plan_source(SourceConfig(path=str(tmp_path)))


def test_a_store_is_read_as_folders_are(tmp_path: Path) -> None:
    save_dict(tmp_path / "d", train={"text": ["a", "b"]}, test={"text": ["c"]})
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "d"), "/hugging/d", recursive=True)
    try:
        for path in ("memory://hugging", "memory://hugging/d", "memory://hugging/*", "memory://hugging/d/*"):
            assert sorted(texts(path)) == ["a", "b", "c"]
    finally:
        memory.rm("/hugging", recursive=True)


def test_datasets_in_folders_with_columns_have_these(tmp_path: Path) -> None:
    for year in (2024, 2025):
        save(tmp_path / f"year={year}", {"text": [f"of {year}"]})
    rows = read(tmp_path, payload=["year"])
    assert [(row["text"], row["payload"]) for row in rows] == [
        ("of 2024", '{"year": 2024}'),
        ("of 2025", '{"year": 2025}'),
    ]


@pytest.mark.parametrize("path", ["", "/*", "/**", "/sets/*", "/*/"])
def test_datasets_in_a_store_are_found_as_on_disk(tmp_path: Path, path: str) -> None:
    save(tmp_path / "sets" / "a", {"text": ["a"]})
    save_dict(tmp_path / "sets" / "b", train={"text": ["b"]})
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path), "/saved", recursive=True)
    try:
        assert texts(f"memory://saved{path}") == texts(f"{tmp_path}{path}") == ["a", "b"]
    finally:
        memory.rm("/saved", recursive=True)
