"""A tally that all processes of a Ray job report to, and that may be killed without harm to the job."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Any

import ray
from ray._private import state
from ray.experimental import internal_kv
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.run.tally import STARTED_AT, Figures, Tally

# How long a worker waits for the tally, which may just be started anew.
SECONDS_TO_BEGIN = 10.0
SECONDS_TO_READ = 30.0
DECISIONS = b"fleetembed decisions"


class RemoteTally:
    """Adds figures to a Tally that runs as an actor on the driver's node, without waiting for it.

    A tally that was killed is started anew and knows nothing: ``read`` adds what it told before. What it was told since
    then is lost, and ``lost`` says so. Decisions are kept by the cluster itself (GCS), and outlive it.
    """

    def __init__(self, also: Callable[[str, Figures], None] | None = None) -> None:
        self._restarted = self._silent = False
        forget_dead_jobs()
        # By the job, so that a later one can tell whose decisions nobody needs any more.
        self._name = f"{ray.get_runtime_context().get_job_id()} {secrets.token_hex(8)}"
        # The watcher reads, and at the end the run itself.
        self._reading = Lock()
        self._before: dict[str, Figures] = {}
        self._last: tuple[str, dict[str, Figures]] | None = None
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = {"num_cpus": 0, "max_restarts": -1, "scheduling_strategy": here}
        self._actor: Any = ray.remote(_NamedTally).options(**options).remote(also)

    def __getstate__(self) -> dict[str, Any]:
        return {"_name": self._name, "_actor": self._actor}

    def __call__(self, stage: str, figures: Figures) -> None:
        """Send figures on their way."""
        with suppress(ray.exceptions.RayError):
            self._actor.__call__.remote(stage, figures)

    def begin(self, work: str) -> int:
        """See Counter; 0 where the tally does not answer."""
        try:
            times: int = ray.get(self._actor.begin.remote(work), timeout=SECONDS_TO_BEGIN)
        except ray.exceptions.RayError:
            return 0
        return times

    def begin_anew(self) -> None:
        """Forget what was begun, before the same work is done once more from the start."""
        with suppress(ray.exceptions.RayError):
            ray.get(self._actor.begin_anew.remote(), timeout=SECONDS_TO_BEGIN)

    def decide(self, question: str, answer: bytes) -> tuple[bytes, bool]:
        """See Counter."""
        # Ray's name for a task is the same however often it is run.
        key = f"{self._name} {ray.get_runtime_context().get_task_id()} {question}".encode()
        # False, and nothing changed, where there is an answer already.
        if internal_kv._internal_kv_put(key, answer, overwrite=False, namespace=DECISIONS):
            kept = internal_kv._internal_kv_get(key, namespace=DECISIONS)
            return (answer if kept is None else kept), False
        return answer, True

    def read(self) -> dict[str, Figures]:
        """Fetch the sums by stage; the last ones known where the tally does not answer."""
        with self._reading:
            try:
                name, figures = ray.get(self._actor.read_named.remote(), timeout=SECONDS_TO_READ)
            except ray.exceptions.RayError:
                self._silent = True
                return self._sums()
            self._silent = False
            if self._last is not None and self._last[0] != name:
                self._before, self._restarted = self._sums(), True
            self._last = name, figures
            return self._sums()

    @property
    def lost(self) -> bool:
        """Whether figures are missing: the tally was started anew, or did not answer the last time it was read."""
        return self._restarted or self._silent

    def close(self) -> None:
        """Forget the decisions of this run, and let the tally end, in order: its metrics go out."""
        # Where the cluster is gone, so are they.
        with suppress(Exception):
            self._actor.__ray_terminate__.remote()
            internal_kv._internal_kv_del(self._name.encode(), del_by_prefix=True, namespace=DECISIONS)

    def _sums(self) -> dict[str, Figures]:
        return add_up(self._before, self._last[1] if self._last else {})


def forget_dead_jobs() -> None:
    """Delete the decisions of Ray jobs that are over: a driver that was killed could not close its tally."""
    # To tidy up is no reason for a job to fail.
    with suppress(Exception):
        # Of jobs as they are known after the keys are: one that began in between has none among them.
        keys = internal_kv._internal_kv_list(b"", namespace=DECISIONS)
        jobs: list[dict[str, Any]] = state.state.job_table()  # type: ignore[no-untyped-call]
        alive = {job["JobID"] for job in jobs if not job["IsDead"]}
        if ray.get_runtime_context().get_job_id() not in alive:
            return
        for job in {key.partition(b" ")[0] for key in keys} - {job.encode() for job in alive}:
            internal_kv._internal_kv_del(job + b" ", del_by_prefix=True, namespace=DECISIONS)


class _NamedTally(Tally):
    """A tally that tells by another name that it was started anew."""

    def __init__(self, also: Callable[[str, Figures], None] | None = None) -> None:
        super().__init__(also)
        self._name = secrets.token_hex(8)

    def read_named(self) -> tuple[str, dict[str, Figures]]:
        """Give the name, and what ``read`` gives."""
        return self._name, self.read()


def add_up(one: dict[str, Figures], other: dict[str, Figures]) -> dict[str, Figures]:
    """Sum figures of the same stage and name; of two times at which a stage began, the first one counts."""
    sums = {stage: dict(figures) for stage, figures in one.items()}
    for stage, figures in other.items():
        mine = sums.setdefault(stage, {})
        for name, value in figures.items():
            if name == STARTED_AT:
                mine[name] = min(mine.get(name, value), value)
            else:
                mine[name] = mine.get(name, 0.0) + value
    return sums
