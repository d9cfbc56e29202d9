"""Misbehaviour on demand: which requests go wrong, in which way, and how much of them is applied first."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any, Literal

Kind = Literal[
    "429_wait",
    "429_split",
    "400_too_large",
    "408",
    "500",
    "500_disk_full",
    "502_html",
    "503",
    "507",
    "wait_timeout",
    "stall",
    "drop",
]
Applied = Literal["nothing", "half", "all"]

ERRORS: dict[str, tuple[int, str]] = {
    "429_wait": (429, "Rate limiting exceeded: Write rate limit exceeded, retry later"),
    "429_split": (
        429,
        "Rate limiting exceeded: Write rate limit exceeded, request larger than rate limiter capacity, "
        "please try to split your request",
    ),
    "400_too_large": (
        400,
        "Payload error: JSON payload (33554433 bytes) is larger than allowed (limit: 33554432 bytes).",
    ),
    "408": (408, "Timeout: Operation 'update' timed out after 1s"),
    "500": (500, "Service internal error: injected fault"),
    "500_disk_full": (
        500,
        "Service internal error: No space left on device: WAL buffer size exceeds available disk space",
    ),
    "503": (503, "Shard temporarily unavailable: The replica is not ready yet"),
    "507": (507, "Insufficient storage: disk usage exceeds the configured quota"),
}


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    It strikes requests with ``method`` (None: any) whose path ends in ``path_suffix``, after letting ``skip`` of them
    pass, ``times`` times (None: for ever). ``applied`` says how much of the request is carried out before the fault
    answers: nothing, the first half of its points, or all; with None, all of it for ``wait_timeout``, where Qdrant has
    the operation in its log, and nothing for the others.

    ``429_wait`` sends ``Retry-After: retry_after`` (seconds), ``429_split`` sends none. ``stall`` holds the request
    for ``seconds`` (None: until the faults are cleared) and then serves it as usual, whether or not the client still
    waits. ``drop`` resets the connection without an answer.
    """

    kind: Kind
    method: str | None = "PUT"
    path_suffix: str = "/points"
    skip: int = 0
    times: int | None = 1
    applied: Applied | None = None
    retry_after: int = 1
    seconds: float | None = None

    @property
    def applies(self) -> Applied:
        """How much of the request is carried out, with the kind's default filled in."""
        return self.applied or ("all" if self.kind == "wait_timeout" else "nothing")

    def strikes(self, method: str, path: str) -> bool:
        """Whether a request is of the sort this fault is about."""
        return self.method in (None, method) and path.endswith(self.path_suffix)


class FaultPlan:
    """The faults still to come. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._released = threading.Event()

    def add(self, faults: list[Fault]) -> None:
        """Put faults behind those that are already waiting."""
        with self._lock:
            self._faults.extend(faults)

    def clear(self) -> None:
        """Forget all faults and let stalled requests go on."""
        with self._lock:
            self._faults = []
            self._released.set()
            self._released = threading.Event()

    def take(self, method: str, path: str) -> tuple[Fault, threading.Event] | None:
        """The fault that strikes this request, with the event that ends its stall; the first that is due wins."""
        with self._lock:
            for place, fault in enumerate(self._faults):
                if not fault.strikes(method, path) or fault.times == 0:
                    continue
                if fault.skip:
                    self._faults[place] = replace(fault, skip=fault.skip - 1)
                    continue
                if fault.times is not None:
                    self._faults[place] = replace(fault, times=fault.times - 1)
                return fault, self._released
        return None


def half(body: Any) -> Any:
    """A request body with the first half of its points or operations, None where that is none; others as they are."""
    if not isinstance(body, dict):
        return body
    if isinstance(body.get("points"), list):
        kept = body["points"][: len(body["points"]) // 2]
        return {**body, "points": kept} if kept else None
    if isinstance(body.get("operations"), list):
        kept = body["operations"][: len(body["operations"]) // 2]
        return {**body, "operations": kept} if kept else None
    if isinstance(body.get("batch"), dict):
        batch = body["batch"]
        keep = len(batch["ids"]) // 2
        if not keep:
            return None
        vectors = batch["vectors"]
        cut: dict[str, Any] = {**batch, "ids": batch["ids"][:keep]}
        cut["vectors"] = (
            {name: column[:keep] for name, column in vectors.items()} if isinstance(vectors, dict) else vectors[:keep]
        )
        if batch.get("payloads") is not None:
            cut["payloads"] = batch["payloads"][:keep]
        return {**body, "batch": cut}
    return body
