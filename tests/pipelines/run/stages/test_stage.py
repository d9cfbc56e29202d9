from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pyarrow as pa
import pytest

from pipelines.config.file import load_config
from pipelines.run.placement.pools import place_in_one_process
from pipelines.run.stages.job_stages import job_stages
from pipelines.run.stages.stage import Resources, Work, check_columns, fuse, open_stages
from pipelines.run.tally import Tally
from pipelines.sinks.factory import make_sink


@dataclass(frozen=True)
class Step:
    """A stage that adds a column with its name, and notes when it is opened and closed."""

    name: str
    takes: frozenset[str] = frozenset()
    keeps: bool = True
    resources: Resources = field(default_factory=Resources)
    log: list[str] = field(default_factory=list)

    @property
    def gives(self) -> frozenset[str]:
        return frozenset([self.name])

    @contextmanager
    def open(self) -> Iterator[Work]:
        self.log.append(f"open {self.name}")
        yield lambda tables: (table.append_column(self.name, pa.array([1] * table.num_rows)) for table in tables)
        self.log.append(f"close {self.name}")


def test_a_column_that_no_stage_before_gives_is_told_with_stage_and_columns() -> None:
    stages = [Step("a", keeps=False), Step("b", takes=frozenset(["a", "task"]))]
    with pytest.raises(ValueError, match=r"stage 'b' takes the columns task, and the stages before it give only a$"):
        check_columns(stages, frozenset(["task"]))


def test_columns_go_on_through_stages_that_keep_them() -> None:
    stages = [Step("a"), Step("b"), Step("c", takes=frozenset(["a", "b", "task"]))]
    check_columns(stages, frozenset(["task"]))
    with pytest.raises(ValueError, match="task"):
        check_columns(stages, frozenset())


def test_neighbours_on_tasks_that_want_the_same_are_fused_and_actors_are_not() -> None:
    tasks, others, actors = Resources(cpus=1), Resources(cpus=2), Resources(cpus=1, actors=True)
    steps = [
        Step(name, resources=resources)
        for name, resources in zip("abcdef", (tasks, tasks, others, actors, actors, tasks), strict=True)
    ]
    assert [[stage.name for stage in group] for group in fuse(steps)] == [["a", "b"], ["c"], ["d"], ["e"], ["f"]]
    assert fuse([]) == []


def test_opened_stages_work_one_after_the_other_and_are_closed_in_reverse() -> None:
    log: list[str] = []
    with open_stages([Step("a", log=log), Step("b", log=log)]) as work:
        tables = list(work(iter([pa.table({"x": [1]}), pa.table({"x": [2]})])))
    assert [table.column_names for table in tables] == [["x", "a", "b"]] * 2
    assert log == ["open a", "open b", "close b", "close a"]


def test_a_jobs_stages_go_together_and_skip_shares_the_readers_process() -> None:
    dense = {"name": "dense", "model": "sentence-transformers/all-MiniLM-L6-v2"}
    config = load_config(
        {
            "source": {"path": "x.jsonl"},
            "embeddings": [dense, {"name": "bm25", "model": "Qdrant/bm25"}],
            "sink": {"type": "parquet", "path": "out"},
        }
    )
    stages = job_stages(config, place_in_one_process(config), [make_sink(config.sink[0])], "run", Tally())
    assert [[stage.name for stage in group] for group in fuse(stages)] == [
        ["read", "skip", "block"],
        ["dense, bm25"],
        ["write"],
    ]
