"""The job as one Ray dataset: splits -> rows -> rows to embed -> vectors -> receipts."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
from ray.data import Dataset

from pipelines.config.job import JobConfig
from pipelines.config.source import SourceConfig
from pipelines.embed.average_length import Lengths, measure_splits, total
from pipelines.run.cluster import on_actors, on_tasks
from pipelines.run.packing import PackedStage, packed_call, unpacked_call
from pipelines.run.placement import READ_CPUS, SUPPORT_CPUS, Placement
from pipelines.run.stages import EmbedStage, read_packed, read_rows, skip_held, write_rows
from pipelines.run.tally import AddFigures, Counter
from pipelines.sinks.base import Sink
from pipelines.sources import Duplicates, Repeats, Split, SplitScan, find_duplicates, scan_split

# One read task takes splits of so many bytes or files together: a million small files are not a million tasks.
BYTES_A_TASK = 32 << 20
SPLITS_A_TASK = 500


@dataclass(frozen=True)
class Read:
    """What the job reads: splits, how many documents they hold, and the rows among them that repeat an id."""

    splits: Sequence[Split]
    documents: int
    duplicates: Duplicates


def group_splits(splits: Sequence[Split]) -> list[list[int]]:
    """Put the numbers of neighbouring splits together, one list a read task."""
    groups: list[list[int]] = []
    size = 0
    for number, split in enumerate(splits):
        if not groups or size + split.bytes > BYTES_A_TASK or len(groups[-1]) >= SPLITS_A_TASK:
            groups.append([])
            size = 0
        groups[-1].append(number)
        size += split.bytes
    return groups


def scan(splits: Sequence[Split], source: SourceConfig) -> Read:
    """Count documents and find repeated ids over all splits, in Ray tasks."""

    @ray.remote(num_cpus=READ_CPUS)
    def scan_group(group: list[Split]) -> list[SplitScan]:
        return [scan_split(split, source) for split in group]

    pending = [scan_group.remote([splits[number] for number in group]) for group in group_splits(splits)]
    scans = [found for task in pending for found in ray.get(task)]
    duplicates = find_duplicates(scans)
    return Read(duplicates.splits, sum(found.rows for found in scans), duplicates)


def measure(config: JobConfig, read: Read) -> dict[str, Lengths]:
    """Sum up the scored lengths of all rows for the embeddings that measure their average, in Ray tasks."""

    @ray.remote(num_cpus=READ_CPUS)
    def measure_group(group: list[tuple[Split, Repeats | None]]) -> dict[str, Lengths]:
        return measure_splits(group, config)

    groups = [
        [(read.splits[number], read.duplicates.of_split(number)) for number in group]
        for group in group_splits(read.splits)
    ]
    pending = [measure_group.remote(group) for group in groups]
    return total(ray.get(task) for task in pending)


def read_dataset(config: JobConfig, read: Read, add: AddFigures, *, packed: bool) -> Dataset:
    """Read the splits, lazily, into blocks of at most ``compute.block_rows`` rows; packed, also of about 64 MB."""
    tasks = [
        pickle.dumps([(read.splits[number], read.duplicates.of_split(number)) for number in group])
        for group in group_splits(read.splits)
    ]
    source = ray.data.from_arrow([pa.table({"task": [task]}) for task in tasks])
    rows = on_tasks(source, read_packed if packed else read_rows, {"config": config, "add": add}, cpus=READ_CPUS)
    return rows.repartition(target_num_rows_per_block=1 if packed else config.compute.block_rows)


def build_dataset(
    config: JobConfig,
    read: Read,
    placements: dict[str, Placement],
    sinks: Sequence[Sink],
    run_id: str,
    add: Counter,
) -> Dataset:
    """Chain the stages lazily; each block that comes out is the receipt of a block that the sinks acknowledged."""
    compute = config.compute
    packed = any(split.holds_images(config.source.image) for split in read.splits)
    rows = read_dataset(config, read, add, packed=packed)
    lookers = max(1, max(placement.workers for placement in placements.values()) // 2)
    skip: dict[str, Any] = {"sinks": sinks, "add": add}
    write: dict[str, Any] = {"sinks": sinks, "dead_letters": config.dead_letters, "run_id": run_id, "add": add}
    writers = max(sink.workers for sink in sinks)
    if packed:
        skip, write = {"stage": skip_held, "arguments": skip}, {"stage": write_rows, "arguments": write}
    rows = on_tasks(rows, packed_call if packed else skip_held, skip, cpus=SUPPORT_CPUS, at_once=lookers)
    for embedding in config.embeddings:
        placement = placements[embedding.name]
        stage, arguments = (PackedStage, (EmbedStage,)) if packed else (EmbedStage, ())
        rows = on_actors(rows, stage, (*arguments, embedding, placement, add), placement, compute, packed=packed)
    return on_tasks(rows, unpacked_call if packed else write_rows, write, cpus=SUPPORT_CPUS, at_once=writers)
