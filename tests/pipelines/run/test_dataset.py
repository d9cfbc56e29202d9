from __future__ import annotations

import os
import signal
from pathlib import Path

import pyarrow as pa
import pytest
import ray
import ray.data
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config.compute import ComputeConfig
from pipelines.config.file import load_config
from pipelines.errors import SinkError, WorkerError
from pipelines.run import cluster
from pipelines.run.dataset import BYTES_A_TASK, SPLITS_A_TASK, Read, group_splits, read_dataset
from pipelines.run.packing import PackedStage, unpacked_call
from pipelines.run.placement import Placement
from pipelines.sources import Duplicates, Split, plan_source


@given(st.lists(st.integers(0, 2 * BYTES_A_TASK), max_size=200))
def test_groups_hold_every_split_once_and_in_order(sizes: list[int]) -> None:
    groups = group_splits([Split("r", "p", "n", "jsonl", bytes=size) for size in sizes])
    assert [number for group in groups for number in group] == list(range(len(sizes)))
    assert all(sum(sizes[number] for number in group) <= BYTES_A_TASK or len(group) == 1 for group in groups)


def test_many_small_files_share_tasks() -> None:
    groups = group_splits([Split("r", "p", "n", "text", bytes=10)] * (3 * SPLITS_A_TASK))
    assert len(groups) == 3


class Killer:
    """Dies of the row 'poison', as a crash in native code would; keeps count of its calls in a file."""

    def __init__(self, calls: str) -> None:
        self._calls = Path(calls)

    def __call__(self, table: pa.Table) -> pa.Table:
        with self._calls.open("a") as file:
            file.write("x")
        if "poison" in table["text"].to_pylist():
            os.kill(os.getpid(), signal.SIGKILL)
        return table


class Refuser:
    """Fails as a sink does that refuses the job."""

    def __call__(self, table: pa.Table) -> pa.Table:
        raise SinkError("the collection is gone")


def run(stage: type, *arguments: str) -> int:
    compute = ComputeConfig(max_retries=2)
    cluster.configure(compute)
    source = ray.data.from_arrow([pa.table({"text": [text]}) for text in ("a", "poison", "b")])
    dataset = cluster.on_actors(source, stage, arguments, Placement(workers=1, cpus=0.1), compute)
    with cluster.plain_errors():
        return dataset.count()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
def test_a_row_that_kills_its_worker_ends_the_job_with_a_message_instead_of_looping(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"worker process died.*run the job again"):
        run(Killer, str(tmp_path / "calls"))
    assert len((tmp_path / "calls").read_text()) <= 3 * 3


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
def test_a_workers_own_error_arrives_as_itself() -> None:
    with pytest.raises(SinkError, match=r"^the collection is gone$"):
        run(Refuser)


class Measure:
    """Tells how many rows and bytes its blocks have."""

    def __call__(self, table: pa.Table) -> pa.Table:
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
    cluster.configure(config.compute)
    splits = plan_source(config.source).splits
    read = Read(splits, 60, Duplicates(splits, {}))
    rows = read_dataset(config, read, lambda stage, figures: None, packed=True)
    stage, placement = (Measure,), Placement(workers=1, cpus=0.1)
    rows = cluster.on_actors(rows, PackedStage, stage, placement, config.compute, packed=True)
    measured = cluster.on_tasks(rows, unpacked_call, {"stage": same, "arguments": {}}, cpus=0.1).to_pandas()
    assert sorted(measured["rows"].tolist()) == [16, 22, 22]
    assert measured["bytes"].max() <= 64 << 20


def same(table: pa.Table) -> pa.Table:
    return table


def test_an_address_without_a_ray_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test's Ray may be running in this process; the job would join that one.
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    refused = pytest.raises(WorkerError, match=r"no Ray answers at 127\.0\.0\.1:9 ")
    with refused, cluster.connect(ComputeConfig(address="127.0.0.1:9")):
        pass
