"""Drives a datasink as Ray does, without one: start, a task a list of blocks, and the end."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
from ray.data.datasource import Datasink, WriteResult


def drive(datasink: Datasink[Any], *tasks: Sequence[Any], schema: pa.Schema | None = None) -> Any:
    """Write the blocks of each task by a copy of the datasink, as a worker has it; returns the report."""
    try:
        datasink.on_write_start(schema)
        returns = []
        for number, blocks in enumerate(tasks):
            context: Any = SimpleNamespace(task_idx=number, kwargs={"write_uuid": "run"})
            # What workers are given, and what they return, travels.
            worker = pickle.loads(pickle.dumps(datasink))
            returns.append(pickle.loads(pickle.dumps(worker.write(iter(blocks), context))))
        datasink.on_write_complete(WriteResult(0, 0, returns))
    except Exception as error:
        datasink.on_write_failed(error)
        raise
    return datasink.report  # type: ignore[attr-defined]
