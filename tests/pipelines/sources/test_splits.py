from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config.source import SourceConfig
from pipelines.sources import number_lines, plan_source, read_split, scan_split
from tests.pipelines.sources.reading import (
    FILES_OF_A_TEST,
    read,
    read_once,
    write_lines,
    write_parquet,
)


@given(
    lines=st.lists(
        st.sampled_from(['{"text": "a"}', '{"text": "bé"}', "", "  ", "bad", '{"text": "' + "x" * 50 + '"}'])
    ),
    size=st.integers(1, 80),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
    mark=st.booleans(),
)
@FILES_OF_A_TEST
def test_a_jsonl_file_in_pieces_has_the_rows_of_the_whole(
    tmp_path: Path, lines: list[str], size: int, end: str, last: bool, mark: bool
) -> None:
    content = end.join(lines) + (end if last else "")
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" * mark + content.encode())
    whole = read(tmp_path)
    source = SourceConfig(path=str(tmp_path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.sources.plan.SPLIT_BYTES", size)
        splits = plan_source(source).splits
    numbered = number_lines([scan_split(split, source) for split in splits])
    rows = [row for split in numbered for table in read_split(split, source, block_rows=2) for row in table.to_pylist()]
    assert rows == whole
    assert sum(split.bytes for split in splits) == (tmp_path / "a.jsonl").stat().st_size


def test_lines_of_a_range_that_nobody_numbered_are_counted_from_its_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(tmp_path / "a.jsonl", [{"text": "a"}] * 4)
    monkeypatch.setattr("pipelines.sources.plan.SPLIT_BYTES", 28)
    assert [row["origin"] for row in read(tmp_path)] == ["a.jsonl:1", "a.jsonl:2", "a.jsonl@28:1", "a.jsonl@28:2"]


def test_a_parquet_file_in_pieces_has_the_rows_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "a.parquet", {"text": [f"text {n}" for n in range(1000)]}, row_group_size=100)
    whole = read(tmp_path)
    monkeypatch.setattr("pipelines.sources.plan.SPLIT_BYTES", 2500)
    splits = plan_source(SourceConfig(path=str(tmp_path))).splits
    assert len(splits) > 2
    assert sum(split.rows or 0 for split in splits) == 1000
    assert read(tmp_path) == whole
    assert [row["origin"] for row in whole] == [f"a.parquet:row {n}" for n in range(1, 1001)]


def test_a_plan_is_the_same_each_time_and_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    for number in (3, 1, 2):
        write_lines(tmp_path / f"{number}.jsonl", [{"text": "a"}])
    source = SourceConfig(path=str(tmp_path))
    plan = plan_source(source)
    assert plan == plan_source(source) == pickle.loads(pickle.dumps(plan))


@pytest.mark.parametrize("limit", [1, 5, 6, 12, 100])
def test_limit_takes_the_first_rows_in_the_order_of_the_plan(tmp_path: Path, limit: int) -> None:
    write_parquet(tmp_path / "a.parquet", {"text": [f"a{n}" for n in range(5)]}, row_group_size=2)
    write_lines(tmp_path / "b.jsonl", [{"text": f"b{n}"} for n in range(5)])
    (tmp_path / "c.csv").write_text("text\nc0\nc1\nc2\n")
    texts = [row["text"] for row in read(tmp_path)]
    assert [row["text"] for row in read(tmp_path, limit=limit)] == texts[:limit]
    assert [row["text"] for row in read_once(tmp_path, limit=limit)] == texts[:limit]
