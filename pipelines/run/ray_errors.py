"""What Ray says of failures, told as a job's own errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import ray

from embedders.errors import FleetembedError
from pipelines.errors import WorkerError

_DEATHS = (
    ray.exceptions.ActorDiedError,
    ray.exceptions.ActorUnavailableError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Raise a worker's FleetembedError as itself, and what Ray says of dead workers as a WorkerError."""
    try:
        yield
    except ray.exceptions.RayError as error:
        known = _find_cause(error)
        if known is not None:
            raise type(known)(_without_advice(known)) from None
        raise WorkerError(f"{_explain(error)}; what was written stays, run the job again to go on") from error


def _without_advice(error: BaseException) -> str:
    """An error's message without what Ray Data adds to it about retries."""
    return str(error).partition("\nFailed to apply UDF transform")[0]


def _explain(error: ray.exceptions.RayError) -> str:
    if isinstance(error, _DEATHS):
        return (
            "a worker process died, and so did those that took its block over: out of memory, or a crash in native "
            "code (lower compute.block_rows or a stage's token_budget, or give it more memory)"
        )
    lines = _without_advice(error).strip().splitlines()
    return f"a worker failed: {lines[-1][:500] if lines else type(error).__name__}"


def _find_cause(error: BaseException | None) -> FleetembedError | None:
    """Follow the chain of wrappers that Ray puts around a worker's exception."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, FleetembedError) and not isinstance(error, ray.exceptions.RayError):
            return error
        error = getattr(error, "cause", None) or error.__cause__
    return None
