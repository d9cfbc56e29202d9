"""Sessions of one graph, on one device or several, and the batches that they share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from traceback import clear_frames
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from embedders.device.memory import TokenBudget, is_out_of_memory
from embedders.graph_session import GraphSession
from embedders.ordered_map import ordered_map
from embedders.session_settings import SessionSettings

Rows = npt.NDArray[np.intp]
Result = TypeVar("Result")

# Models whose files are smaller get two sessions on a GPU: 150 million parameters in float32. Below that a call is so
# short that launching its kernels and copying between host and device leave the GPU idle.
SMALL_MODEL_BYTES = 600_000_000
# After so many calls that did not fit, a session is loaded again: its arena keeps what it had grown to.
FAILURES_A_SESSION = 2


def default_sessions(path: Path, *, on_gpu: bool) -> int:
    """Sessions of one device for a graph, by the size of its files, those of external data included."""
    if not on_gpu:
        return 1
    size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*") if file.is_file())
    return 2 if size < SMALL_MODEL_BYTES else 1


class Prepared(Protocol):
    """A batch that is ready to run."""

    @property
    def rows(self) -> Rows:
        """Positions of its texts among the texts given."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and tokens that are fed, padding included."""


PreparedT = TypeVar("PreparedT", bound=Prepared)


@dataclass(eq=False)
class Lane:
    """A session, and how many of its calls did not fit since it was loaded."""

    session: GraphSession
    failures: int = 0


class SessionPool:
    """Sessions of one graph, for any number of threads. On a GPU, each runs one call at a time."""

    def __init__(self, sessions: Sequence[GraphSession]) -> None:
        self.sessions = tuple(sessions)
        self._free: SimpleQueue[Lane] = SimpleQueue()
        for session in self.sessions:
            self._free.put(Lane(session))

    @property
    def devices(self) -> frozenset[int]:
        """Numbers of the devices that the sessions are on."""
        devices = [one.on_device for one in self.sessions]
        return frozenset(one.device_id for one in devices if one is not None) or frozenset([0])

    @contextmanager
    def taken(self) -> Iterator[Lane]:
        """A session for the time of a call: on a GPU, waits for one that is free; on a CPU, they take turns."""
        lane = self._free.get()
        if not lane.session.on_gpu:
            self._free.put(lane)
            yield lane
            return
        try:
            yield lane
        finally:
            self._free.put(lane)


def open_pool(
    first: GraphSession,
    load: Callable[[SessionSettings], GraphSession],
    settings: SessionSettings,
    *,
    devices: Sequence[int] = (),
    sessions: int | None = None,
) -> SessionPool:
    """Open the further sessions of a graph: so many on each device; None: as many as suit it.

    ``first`` is the one that was loaded with ``settings``, on the first of the ``devices``, which are GPUs.
    """
    places: Sequence[int | None] = devices if devices and first.on_gpu else [settings.device_id]
    each = sessions or default_sessions(first.path, on_gpu=first.on_gpu)
    # Neighbours are on different devices, so that all of them have work from the start.
    wanted = [replace(settings, device_id=place) for place in places] * each
    return SessionPool([first, *map(load, wanted[1:])])


def _reopen(lane: Lane, failure: Exception) -> None:
    """Load a session again after a call that did not fit; raises that failure where it cannot be."""
    try:
        lane.session.reopen()
    except Exception as error:
        raise failure from error
    lane.failures = 0


class BatchRuns(Generic[PreparedT, Result]):
    """Batches of texts run by the sessions of a pool, in order.

    ``prepare`` makes a batch of the texts at some positions, ``call`` runs one in a session. ``ahead`` batches are
    prepared in threads while each session runs one; with 0, and one session, the caller's thread does everything. A
    batch that does not fit the device's memory is run in halves, down to single texts, and ``budget`` lowered.
    """

    def __init__(
        self,
        pool: SessionPool,
        budget: TokenBudget,
        prepare: Callable[[Rows], PreparedT],
        call: Callable[[GraphSession, PreparedT], Result],
        *,
        ahead: int = 0,
    ) -> None:
        self._pool, self._budget, self._ahead = pool, budget, ahead
        self._prepare, self._call = prepare, call

    def run(self, batches: Sequence[Rows]) -> Iterator[Result]:
        """Results of all batches; one that was halved gives several. Raises what the first failing call raised."""
        # Each thread prepares a batch and waits for a session: so many are ready while others run.
        threads = max(1, min(len(self._pool.sessions) + self._ahead, len(batches)))
        with closing(ordered_map(self._made, batches, threads=threads, ahead=1)) as made:
            for results in made:
                yield from results

    def _made(self, rows: Rows) -> list[Result]:
        return self._settle(self._prepare(rows))

    def _settle(self, batch: PreparedT) -> list[Result]:
        rows, width = batch.shape
        alone = len(batch.rows) == 1
        # Planned with the budget of the time, and with a tokenizer's own rounding of widths.
        if alone or not self._budget.halved or rows * width <= self._budget.at(width):
            with self._pool.taken() as lane:
                try:
                    return [self._call(lane.session, batch)]
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    # Frames of the call hold its session and what it had computed, whose memory is to be given back.
                    clear_frames(error.__traceback__)
                    failure = error
                self._budget.halve(rows, width)
                lane.failures += 1
                if alone or lane.failures >= FAILURES_A_SESSION:
                    _reopen(lane, failure)
                del failure
                if alone:
                    return [self._call(lane.session, batch)]
        middle = len(batch.rows) // 2
        halves = (batch.rows[:middle], batch.rows[middle:])
        return [result for some in halves for result in self._made(some)]
