"""What Ray says of failures, told as a job's own errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import ray
from ray.data import DataContext
from ray.data.exceptions import ExecutionTimeoutError

from embedders.errors import FleetembedError
from pipelines.errors import WorkerError
from pipelines.rows import MOST_CHARACTERS

log = logging.getLogger("fleetembed")

_DEATHS = (
    ray.exceptions.ActorDiedError,
    ray.exceptions.ActorUnavailableError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
)
_LOST_BLOCKS = (ray.exceptions.ObjectLostError, ray.exceptions.StreamingGeneratorReplayInconsistentError)
GO_ON = "what was written stays, run the job again to go on"


@contextmanager
def plain_errors(nodes_lost: Callable[[], int] = lambda: 0) -> Iterator[None]:
    """Raise a worker's FleetembedError as itself, and what Ray says of dead workers as a WorkerError.

    ``nodes_lost`` counts the nodes that are gone since the job began.
    """
    try:
        yield
    except ray.exceptions.RayError as error:
        known = _find_cause(error)
        if known is not None:
            raise type(known)(_without_advice(known)) from None
        raise WorkerError(f"{_explain(error, nodes_lost())}; {GO_ON}") from error


def plain_stalls(batches: Iterator[pa.Table], waits_for: Callable[[], str]) -> Iterator[pa.Table]:
    """Give a dataset's batches; errors of Ray Data itself, which are no RayErrors, come as WorkerErrors."""
    try:
        yield from batches
    except ExecutionTimeoutError as error:
        seconds = DataContext.get_current().execution_no_progress_timeout_s
        raise WorkerError(
            f"no block moved for {seconds:g} s (compute.stall_seconds), and the job was given up. "
            f"{waits_for() or 'What it waited for is not known'}. Give the cluster room for what is missing, or lower "
            "workers, cpus or gpus under compute.stages; where a block just takes so long, raise compute.stall_seconds "
            f"or lower compute.block_rows; {GO_ON}"
        ) from error
    except (ray.exceptions.RayError, FleetembedError):
        raise
    except Exception as error:
        log.debug("Ray Data failed", exc_info=True)
        first = (str(error).strip() or "no message").splitlines()[0][:MOST_CHARACTERS]
        raise WorkerError(f"Ray Data failed: {type(error).__name__}: {first}; {GO_ON}") from error


def _without_advice(error: BaseException) -> str:
    """An error's message without what Ray Data adds to it about retries."""
    return str(error).partition("\nFailed to apply UDF transform")[0]


def _explain(error: ray.exceptions.RayError, nodes_lost: int) -> str:
    if isinstance(error, (*_DEATHS, *_LOST_BLOCKS)) and nodes_lost:
        nodes = "1 node was lost" if nodes_lost == 1 else f"{nodes_lost} nodes were lost"
        return (
            f"{nodes} while the job ran, and a worker, or a block that it was to work on, was lost more often than "
            "compute.max_retries allows; raise it where nodes come and go, to about 10 on spot nodes"
        )
    if isinstance(error, ray.exceptions.ActorUnavailableError):
        return (
            "a worker process cannot be reached any more; its node may be gone (raise compute.max_retries where nodes "
            "come and go, to about 10 on spot nodes)"
        )
    if isinstance(error, _DEATHS):
        return (
            "a worker process died, and so did those that took its block over: out of memory, or a crash in native "
            "code (lower compute.block_rows or a stage's token_budget, or give it more memory)"
        )
    if isinstance(error, _LOST_BLOCKS):
        return (
            "a block was lost with the process or node that held it, and could not be made again (raise "
            "compute.max_retries where nodes come and go)"
        )
    lines = _without_advice(error).strip().splitlines()
    return f"a worker failed: {lines[-1][:MOST_CHARACTERS] if lines else type(error).__name__}"


def _find_cause(error: BaseException | None) -> FleetembedError | None:
    """Follow the chain of wrappers that Ray puts around a worker's exception."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, FleetembedError) and not isinstance(error, ray.exceptions.RayError):
            return error
        error = getattr(error, "cause", None) or error.__cause__
    return None
