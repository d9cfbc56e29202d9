from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.run.scan import BYTES_A_TASK, SPLITS_A_TASK, group_splits
from pipelines.sources import Split


@given(st.lists(st.integers(0, 2 * BYTES_A_TASK), max_size=200))
def test_groups_hold_every_split_once_and_in_order(sizes: list[int]) -> None:
    groups = group_splits([Split("r", "p", "n", "jsonl", bytes=size) for size in sizes])
    assert [number for group in groups for number in group] == list(range(len(sizes)))
    assert all(sum(sizes[number] for number in group) <= BYTES_A_TASK or len(group) == 1 for group in groups)


def test_many_small_files_share_tasks() -> None:
    groups = group_splits([Split("r", "p", "n", "text", bytes=10)] * (3 * SPLITS_A_TASK))
    assert len(groups) == 3
