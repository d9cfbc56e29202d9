"""What a user is told when Ray gives up: what was lost, and what to change."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
import ray
from ray.data.exceptions import ExecutionTimeoutError

from pipelines.errors import SinkError, WorkerError
from pipelines.run.cluster.errors import plain_errors, plain_stalls

UNAVAILABLE = ray.exceptions.ActorUnavailableError("connection refused", b"0" * 16)


def fail(error: Exception) -> Iterator[pa.Table]:
    raise error
    yield


@pytest.mark.parametrize(
    ("error", "nodes_lost", "told"),
    [
        (ray.exceptions.ActorDiedError(), 2, r"^2 nodes were lost .*raise it .* about 10 on spot nodes; what was writ"),
        (ray.exceptions.ObjectLostError("00", None, ""), 1, r"^1 node was lost while the job ran"),
        (UNAVAILABLE, 0, r"^a worker process cannot be reached any more; its node may be gone \(raise compute.max_ret"),
        (ray.exceptions.ActorDiedError(), 0, r"^a worker process died, .* out of memory, or a crash"),
        (ray.exceptions.ObjectLostError("00", None, ""), 0, r"^a block was lost with the process or node that held it"),
    ],
)
def test_lost_nodes_are_not_blamed_on_memory(error: Exception, nodes_lost: int, told: str) -> None:
    with pytest.raises(WorkerError, match=told), plain_errors(lambda: nodes_lost):
        raise error


def test_a_stall_and_an_error_within_ray_data_come_as_one_message_each() -> None:
    waited = r"^no block moved for .* s \(compute.stall_seconds\), .* dense waits for 1 of 1\. Give the cluster room"
    with pytest.raises(WorkerError, match=waited):
        next(plain_stalls(fail(ExecutionTimeoutError("advice about Ray's context")), lambda: "dense waits for 1 of 1"))
    with pytest.raises(WorkerError, match=r"^Ray Data failed: AssertionError: odd; what was written stays"):
        next(plain_stalls(fail(AssertionError("odd\nand more")), lambda: ""))
    with pytest.raises(SinkError, match=r"^full$"):
        next(plain_stalls(fail(SinkError("full")), lambda: ""))
