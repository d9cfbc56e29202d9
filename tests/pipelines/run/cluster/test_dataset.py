from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray

from pipelines.config.compute import ComputeConfig
from pipelines.config.file import load_config
from pipelines.errors import SinkError, WorkerError
from pipelines.run.cluster import connection
from pipelines.run.cluster.as_found import job_options
from pipelines.run.cluster.dataset import build_dataset
from pipelines.run.cluster.errors import plain_errors
from pipelines.run.cluster.lone_ray import lone
from pipelines.run.cluster.remote_tally import RemoteTally
from pipelines.run.scan import scan
from pipelines.run.stages.block import BlockStage
from pipelines.run.stages.read import ReadStage
from pipelines.run.stages.stage import Resources, Stage, Work
from pipelines.sources import plan_source
from tests.waiting import wait_until


@dataclass(frozen=True)
class Step:
    """A stage of a test's own: a function of a table."""

    run: Callable[[pa.Table], pa.Table]
    resources: Resources = Resources(workers=1, cpus=0.1, actors=True)  # noqa: RUF009
    name: str = "step"
    takes: frozenset[str] = frozenset()
    gives: frozenset[str] = frozenset()
    keeps: bool = True
    closed: str | None = None

    @contextmanager
    def open(self) -> Iterator[Work]:
        try:
            yield lambda tables: map(self.run, tables)
        finally:
            if self.closed is not None:
                with Path(self.closed).open("a") as file:
                    file.write("closed\n")


def killer(calls: Path) -> Callable[[pa.Table], pa.Table]:
    """Dies of the task 'poison', as a crash in native code would; keeps count of its calls in a file."""

    def run(table: pa.Table) -> pa.Table:
        with calls.open("a") as file:
            file.write("x")
        if table["task"].to_pylist() == [b"poison"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return table

    return run


def keep(table: pa.Table) -> pa.Table:
    """Gives a table as it is."""
    return table


def refuse(table: pa.Table) -> pa.Table:
    """Fails as a sink does that refuses the job."""
    raise SinkError("the collection is gone")


def drive(*stages: Stage, tasks: Sequence[bytes] = (b"a", b"poison", b"b")) -> list[Any]:
    compute = ComputeConfig(max_retries=2)
    with plain_errors(), job_options(60):
        return build_dataset(stages, tasks, compute).take_all()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize("opens_at_once", [False, True])
def test_a_row_that_kills_its_worker_ends_the_job_with_a_message_instead_of_looping(
    opens_at_once: bool, tmp_path: Path
) -> None:
    # Where nobody else uses the Ray, a worker that opens at once is not kept.
    resources = Resources(workers=1, cpus=0.1, actors=True, opens_at_once=opens_at_once)
    with lone(), pytest.raises(WorkerError, match=r"worker process died.*run the job again"):
        drive(Step(killer(tmp_path / "calls"), resources))
    assert len((tmp_path / "calls").read_text()) <= 3 * 3


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize("alone", [False, True])
def test_workers_that_open_at_once_are_kept_only_where_others_may_take_their_place(alone: bool, tmp_path: Path) -> None:
    resources = Resources(workers=1, cpus=0.1, actors=True, opens_at_once=True)
    with lone() if alone else nullcontext():
        rows = drive(Step(keep, resources, closed=str(tmp_path / "closed")), tasks=[b"1", b"2", b"3"])
    assert sorted(row["task"] for row in rows) == [b"1", b"2", b"3"]
    wait_until((tmp_path / "closed").exists)
    assert (tmp_path / "closed").read_text().count("closed") == (3 if alone else 1)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize("actors", [False, True])
def test_a_workers_own_error_arrives_as_itself(actors: bool) -> None:
    with pytest.raises(SinkError, match=r"^the collection is gone$"):
        drive(Step(refuse, Resources(workers=1, cpus=0.1, actors=actors)))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
def test_stages_on_tasks_share_a_worker_and_all_are_closed(tmp_path: Path) -> None:
    def pid(name: str) -> Callable[[pa.Table], pa.Table]:
        return lambda table: table.append_column(name, pa.array([os.getpid()] * table.num_rows))

    def step(name: str, resources: Resources) -> Step:
        return Step(pid(name), resources, name, gives=frozenset([name]), closed=str(tmp_path / name))

    tasks, actor = Resources(cpus=0.5), Resources(workers=1, cpus=0.1, actors=True)
    steps = [step("a", tasks), step("b", tasks), step("c", actor), step("d", actor)]
    rows = drive(*steps, tasks=[b"1", b"2", b"3"])
    assert sorted(row["task"] for row in rows) == [b"1", b"2", b"3"]
    assert all(row["a"] == row["b"] for row in rows)
    assert len({row["c"] for row in rows}) == len({row["d"] for row in rows}) == 1
    assert rows[0]["c"] != rows[0]["d"]
    wait_until(lambda: {name: (tmp_path / name).exists() for name in "abcd"} == dict.fromkeys("abcd", True))
    assert (tmp_path / "a").read_text().count("closed") == 3
    assert (tmp_path / "c").read_text().count("closed") == 1


def measure(table: pa.Table) -> pa.Table:
    """Tells how many rows and bytes a block has."""
    return pa.table({"rows": [table.num_rows], "bytes": [table.nbytes]})


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
def test_blocks_of_large_images_are_bounded_by_bytes_all_the_way_to_the_models(tmp_path: Path) -> None:
    for number in range(60):
        with (tmp_path / f"{number:02}.png").open("wb") as file:
            file.truncate(3_000_000)
    lines = "".join(f'{{"image": "{number:02}.png"}}\n' for number in range(60))
    (tmp_path / "rows.jsonl").write_text(lines)
    config = load_config(
        {
            "source": {"path": str(tmp_path / "rows.jsonl"), "image": "image"},
            "embeddings": [{"name": "dense", "model": "sentence-transformers/all-MiniLM-L6-v2"}],
            "sink": {"type": "parquet", "path": str(tmp_path / "out")},
        }
    )
    source = scan(plan_source(config.source).splits, config.source, map)
    tally = RemoteTally()
    stages = [ReadStage(config, tally), BlockStage(config.compute.block_rows, tally), Step(measure)]
    measured = drive(*stages, tasks=source.tasks)
    assert sorted(block["rows"] for block in measured) == [16, 22, 22]
    assert max(block["bytes"] for block in measured) <= 64 << 20


@dataclass(frozen=True)
class Pieces(Step):
    """Gives three tables of 40 MB for one."""

    @contextmanager
    def open(self) -> Iterator[Work]:
        yield lambda tables: (pa.table({"x": [bytes(40 << 20)]}) for _ in tables for _ in range(3))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
def test_ray_gathers_the_pieces_of_a_block_no_further_than_blocks_are_bounded() -> None:
    compute = ComputeConfig()
    with job_options(60):
        done = build_dataset([Pieces(lambda table: table)], [b"task"], compute).materialize()
    sizes = [entry.metadata.size_bytes for bundle in done.iter_internal_ref_bundles() for entry in bundle.blocks]
    # Ray joins two that are together no more than half above the limit.
    assert sum(sizes) >= 120 << 20 and max(sizes) < 1.5 * (64 << 20)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
def test_a_job_is_given_up_later_than_a_sink_that_is_away() -> None:
    seconds = [connection.stall_seconds(ComputeConfig(), sink) for sink in (0, 300, 3000)]
    assert seconds == [1800, 1800, 3060]
    assert connection.stall_seconds(ComputeConfig(stall_seconds=10), 3000) == 10


def test_an_address_without_a_ray_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test's Ray may be running in this process; the job would join that one.
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    refused = pytest.raises(WorkerError, match=r"no Ray answers at 127\.0\.0\.1:9 ")
    with refused, connection.connect(ComputeConfig(address="127.0.0.1:9")):
        pass
