"""Reads documents, cuts them into chunks, and names these."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from pipelines.config.job import JobConfig
from pipelines.embed.documents import read_rows
from pipelines.errors import WorkerError
from pipelines.rows import IDENTIFIED_SCHEMA
from pipelines.run.placement.nodes import READ_CPUS
from pipelines.run.scan import MarkedSplit
from pipelines.run.stages.stage import Resources, Work
from pipelines.run.tally import Counter, short_name

# Splits to read, pickled: what a job's first stage takes.
TASK_COLUMN = "task"
# Those that run before the first model share a worker.
ON_READERS = Resources(cpus=READ_CPUS)


@dataclass(frozen=True)
class ReadStage:
    """Reads splits, each with its rows that repeat an id, as identified rows of their chunks.

    Gives tables made from at most ``compute.block_rows`` documents. Raises ConfigError where the tokenizer that cuts
    chunks has not the digest ``tokenizer``, if one is given.
    """

    config: JobConfig
    add: Counter
    tokenizer: str | None = None
    name: str = "read"
    takes: frozenset[str] = frozenset([TASK_COLUMN])
    gives: frozenset[str] = frozenset(IDENTIFIED_SCHEMA.names)
    keeps: bool = False
    resources: Resources = ON_READERS

    @contextmanager
    def open(self) -> Iterator[Work]:
        """See Stage."""
        yield self._read

    def _read(self, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        tasks = (task for table in tables for task in table[TASK_COLUMN].to_pylist())
        splits = (split for task in tasks for split in self._begin(task))
        started = time.perf_counter()
        for documents, rows in read_rows(splits, self.config, tokenizer_digest=self.tokenizer):
            self.add("read", {"rows": documents, "chunks": rows.num_rows, "seconds": time.perf_counter() - started})
            yield rows
            started = time.perf_counter()

    def _begin(self, task: bytes) -> list[MarkedSplit]:
        """Unpickle a task's splits; raises WorkerError where that was done too often."""
        splits: list[MarkedSplit] = pickle.loads(task)
        begun = self.add.begin(f"read {short_name(task)}")
        if begun > self.config.compute.max_retries:
            raise WorkerError(
                f"{splits[0][0].name} and {len(splits) - 1:,} other splits were read {begun} times, and each time the "
                "worker died of it (out of memory, a crash in native code), or what it had read was lost with a node "
                "(give workers more memory, look whether the file is damaged, or raise compute.max_retries where nodes "
                "come and go); what was written stays, run the job again to go on"
            )
        return splits
