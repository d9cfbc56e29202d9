from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config.source import SourceConfig
from pipelines.sources import Split, plan_source
from pipelines.sources.files import FoundFile
from pipelines.sources.formats import format_named
from pipelines.sources.split import SPLIT_BYTES, group_files
from tests.pipelines.sources.reading import write_lines


@pytest.mark.parametrize(
    ("format", "first_row", "origins"),
    [
        ("jsonl", 1, ["a:1", "a:8", "a"]),
        ("jsonl", 100, ["a:100", "a:107", "a"]),
        ("jsonl", None, ["a@64:1", "a@64:8", "a"]),
        ("csv", 1, ["a:1", "a:8", "a"]),
        ("parquet", 5, ["a:row 5", "a:row 12", "a"]),
        ("arrow", None, ["a@64:row 1", "a@64:row 8", "a"]),
        ("huggingface", 1, ["a:row 1", "a:row 8", "a"]),
        ("webdataset", 1, ["a:sample 1", "a:sample 8", "a"]),
        ("text", 1, ["a", "a", "a"]),
    ],
)
def test_an_origin_says_where_a_row_is(format: str, first_row: int | None, origins: list[str]) -> None:
    split = Split("root", "path", "a", format, bytes=1, start=64, first_row=first_row)
    assert split.origins([0, 7, None]) == origins
    assert [split.origin(position) for position in (0, 7, None)] == origins


def test_the_origin_of_a_small_file_is_its_name() -> None:
    files = tuple(FoundFile("root", f"path/{name}", name, 1, "folder") for name in "ab")
    split = Split("root", "path/a", "a", "image", bytes=2, files=files)
    assert split.origins([1, 0, None]) == ["b", "a", "a"]


@pytest.mark.parametrize(
    ("format", "without", "with_column"),
    [
        ("text", False, False),
        ("image", True, True),
        ("webdataset", True, True),
        *((table, False, True) for table in ("parquet", "jsonl", "csv", "arrow", "huggingface")),
    ],
)
def test_rows_may_have_images_by_format_or_by_column(format: str, without: bool, with_column: bool) -> None:
    columns = [format_named(format).image_column(named) for named in (None, "picture")]
    assert [column is not None for column in columns] == [without, with_column]


def test_a_split_is_sent_without_its_format(tmp_path: Path) -> None:
    for number in range(20):
        write_lines(tmp_path / f"{number:02}.jsonl", [{"text": "a"}])
    sent = pickle.dumps(plan_source(SourceConfig(path=str(tmp_path))).splits)
    assert b"sources.jsonl" not in sent and b"sources.base" not in sent
    assert len(sent) < 20 * (len(str(tmp_path)) + 120)


def test_a_plan_is_the_same_each_time_and_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    for number in (3, 1, 2):
        write_lines(tmp_path / f"{number}.jsonl", [{"text": "a"}])
    source = SourceConfig(path=str(tmp_path))
    plan = plan_source(source)
    assert plan == plan_source(source) == pickle.loads(pickle.dumps(plan))


@given(st.lists(st.integers(0, SPLIT_BYTES * 5 // 4), max_size=50))
def test_groups_hold_every_file_once_in_order_and_are_not_too_large(sizes: list[int]) -> None:
    files = [FoundFile("r", f"p{number}", f"n{number}", size, "folder") for number, size in enumerate(sizes)]
    splits = list(group_files(files, "image"))
    assert [file for split in splits for file in split.files] == files
    assert all(split.bytes == sum(file.bytes for file in split.files) for split in splits)
    assert all(split.bytes <= SPLIT_BYTES or len(split.files) == 1 for split in splits)
