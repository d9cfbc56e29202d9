from __future__ import annotations

import pickle
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipelines.config.source import SourceConfig
from pipelines.sources import plan_source
from pipelines.sources.files import FoundFile
from pipelines.sources.split import SPLIT_BYTES, group_files
from tests.pipelines.sources.reading import (
    write_lines,
)


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
