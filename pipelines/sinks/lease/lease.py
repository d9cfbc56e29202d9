"""One run at a time writes to a place: the run that does holds its lease, a record that it keeps there and renews.

Whether a holder is still there is found out without its clock. On this machine its process is looked for. Of any other
machine's, the record is watched: one that changes is renewed, and one that stays the same for ``Timing.stale`` seconds
was left behind.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from pipelines.errors import SinkError
from pipelines.sinks.base import JobFacts, LeaseStore, Sink
from pipelines.sinks.lease.holder import Holder

log = logging.getLogger("fleetembed")

ADVICE = "wait until that run is over, or stop it, since two at once would embed everything twice"
JOIN_SECONDS = 10.0  # a store that hangs shall not keep a run from ending
# Runs of this process that have not given back what they hold.
_going_on: set[str] = set()


@dataclass(frozen=True)
class Timing:
    """Seconds: between renewals, until a record that does not change is stale, between looks at one that is watched.

    ``settle`` is how long after a write its reading shows whether another's came at the same moment. A record that
    says nothing, such as the beginning of one, was left behind once whoever wrote it has missed a renewal.
    """

    renew: float = 10.0
    stale: float = 60.0
    look: float = 1.0
    settle: float = 0.5

    @property
    def torn(self) -> float:
        """How long a record that says nothing is watched."""
        return min(self.stale, 1.5 * self.renew)


def current_holder(store: LeaseStore) -> Holder | None:
    """Tell who holds a place, as far as one look tells; None for one who is gone for sure."""
    try:
        holder = Holder.parse(store.read() or "")
    finally:
        store.close()
    return None if holder is None or _is_gone(holder) else holder


def held_notices(sinks: Iterable[Sink]) -> list[str]:
    """Say of each place that is held who holds it, and that a job is refused there meanwhile."""
    stores = {store.place: store for store in (sink.lease_store() for sink in sinks)}
    holders = {place: current_holder(store) for place, store in stores.items()}
    return [
        f"{place} is held by {holder.describe()}; while that run goes on, this job is refused"
        for place, holder in holders.items()
        if holder is not None
    ]


def refuse_held(store: LeaseStore) -> None:
    """Raise SinkError where a run of this machine holds the place for sure; those of others take longer to judge."""
    holder = current_holder(store)
    if holder is not None and holder.is_here():
        raise held_error(store.place, holder)


def held_error(place: str, holder: Holder | None) -> SinkError:
    """Tell that a place is held, by whom, and what to do."""
    who = holder.describe() if holder is not None else "a run that was just about to say who it is"
    return SinkError(f"{place} is held by {who}; {ADVICE}")


class Lease:
    """One place's lease, as one run has it: taken, renewed in a thread of its own, and given back."""

    def __init__(self, store: LeaseStore, holder: Holder, timing: Timing) -> None:
        self._store, self._mine, self._timing = store, holder, timing
        self._watched: tuple[str, float] | None = None
        # Whether a record of this run may be there, whether it is there for sure, and whether the place keeps one.
        self._wrote = self._taken = False
        self._kept = True
        self._renewer: threading.Thread | None = None
        self._over = threading.Event()
        # Why the run must stop, where another run has the place now.
        self.lost: SinkError | None = None

    def look(self) -> None:
        """Raise SinkError where the place is held for sure.

        A record of another machine is watched from now on, here for as long as a run takes to renew it.
        """
        until = time.monotonic() + self._timing.renew + self._timing.look
        while not self._is_free(self._store.read()) and time.monotonic() < until:
            time.sleep(self._timing.look)

    def take(self, job: JobFacts) -> str | None:
        """Take the place, after watching the record of another machine's run; nothing happens where it is taken.

        Raises SinkError, saying who and since when, where another run holds it. Returns what is to be told where the
        place keeps no record.
        """
        if self._taken:
            return None
        self._store.prepare(job)
        while not self._try():
            time.sleep(self._timing.look)
        self._taken = True
        self._store.hurry()
        if not self._kept:
            return f"{self._store.place} keeps no record of who writes to it: a second job at once is not noticed there"
        self._renewer = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._renewer.start()
        return None

    def check(self) -> None:
        """Look whether another run holds the place, as ``lost`` says then."""
        if self._renewer is None or self.lost is not None:
            return
        found = Holder.parse(self._store.read() or "")
        if found is not None and found.nonce != self._mine.nonce:
            self.lost = SinkError(
                f"{self._store.place} was taken over by {found.describe()}, because this run showed no sign of "
                "life for too long; this run stops, and what it wrote stays"
            )

    def give_back(self) -> None:
        """Remove the record, if it is this run's. A place that does not answer is told of, and the record is left."""
        self._over.set()
        self._store.hurry()
        try:
            if self._renewer is not None:
                # One that gets its answer later writes no more.
                self._renewer.join(JOIN_SECONDS)
            if self._wrote:
                with self._store.alone():
                    if self._is_mine(self._store.read()):
                        self._store.remove()
            self._store.close()
        # Whatever a store's library raises: the run is over as it is.
        except Exception as error:
            log.warning("the lease of %s could not be given back: %s", self._store.place, error)

    def _keep(self) -> None:
        told = False
        # Soon at first: where two took the place at one moment, and both believe to have it, the first one sees it now.
        pause = min(self._timing.renew, 4 * self._timing.settle)
        while self.lost is None and not self._over.wait(pause):
            pause = self._timing.renew
            try:
                self._renew()
                told = False
            # Whatever a store's library raises: only another holder ends a run.
            except Exception as error:
                if not told:
                    log.warning("the lease of %s cannot be renewed, which is tried on: %s", self._store.place, error)
                told = True

    def _renew(self) -> None:
        with self._store.alone():
            self.check()
            # A store may have answered after the run was over, and the record is gone then.
            if self.lost is None and not self._over.is_set():
                self._mine = self._mine.renewal()
                self._store.write(self._mine.to_text())

    def _try(self) -> bool:
        """Take the place, if it is free; False while that is not known."""
        found = self._store.read()
        if not self._is_free(found):
            return False
        mine = self._mine.to_text()
        with self._store.alone():
            # A place that lets no one write alone is not asked twice: whoever came between is seen afterwards.
            if self._store.exclusive and self._store.read() != found:
                return self._give_way()
            self._wrote = True
            if found is None:
                if not self._store.create(mine):
                    return self._give_way()
            elif not self._is_mine(found):
                self._store.write(mine)
        if found is None and self._store.exclusive:
            return True
        time.sleep(self._timing.settle)
        now = self._store.read()
        self._kept = now is not None or self._store.read() is not None
        return not self._kept or self._is_mine(now) or self._give_way()

    def _give_way(self) -> bool:
        """Raise SinkError for the run that was quicker; False where it is gone already."""
        text = self._store.read()
        holder = Holder.parse(text) if text is not None else None
        if text is not None and (holder is None or not _is_gone(holder)):
            raise held_error(self._store.place, holder)
        return False

    def _is_free(self, text: str | None) -> bool:
        """Whether nobody holds the place; False while the record has to be watched, SinkError if somebody does."""
        if text is None or self._is_mine(text):
            return True
        holder = Holder.parse(text)
        if holder is not None and holder.is_here():
            if _is_gone(holder):
                return True
            raise held_error(self._store.place, holder)
        now, patience = time.monotonic(), self._timing.stale if text else self._timing.torn
        if self._watched is None:
            self._watched = text, now
            log.info(
                "%s was held by %s: whether it still is shows within %g s",
                self._store.place,
                holder.describe() if holder is not None else "a run whose record cannot be read",
                patience,
            )
        before, since = self._watched
        if text != before:
            raise held_error(self._store.place, holder)
        if now - since < patience:
            return False
        log.info("%s is taken over: its holder showed no sign of life for %g s", self._store.place, now - since)
        return True

    def _is_mine(self, text: str | None) -> bool:
        holder = Holder.parse(text or "")
        return holder is not None and holder.nonce == self._mine.nonce


class RunLeases:
    """The leases of one run's places; a context manager that gives back those that were taken.

    Sinks that share one folder share one lease.
    """

    def __init__(self, sinks: Sequence[Sink], run_id: str, corpus: str, timing: Timing | None = None) -> None:
        self._holder = Holder.of_this_process(run_id, corpus)
        stores = {sink.name: sink.lease_store() for sink in sinks}
        # In one order in all runs: of two runs that want the same places, one gets them all.
        places = {store.place: store for store in sorted(stores.values(), key=lambda store: store.place)}
        self._leases = {place: Lease(store, self._holder, timing or Timing()) for place, store in places.items()}
        self._of_sink = {name: self._leases[store.place] for name, store in stores.items()}

    def look(self) -> None:
        """Raise SinkError where another run holds one of the places; see ``Lease.look``."""
        for lease in self._leases.values():
            lease.look()

    def take(self, job: JobFacts) -> list[str]:
        """Take all places that are not taken yet; see ``Lease.take``. Returns what is to be told."""
        told = [lease.take(job) for lease in self._leases.values()]
        self.refuse_lost()
        return [notice for notice in told if notice is not None]

    def refuse_lost(self) -> None:
        """Raise SinkError where another run has taken a place over, as far as is known."""
        for lease in self._leases.values():
            if lease.lost is not None:
                raise lease.lost

    def lost(self, sink: Sink) -> SinkError | None:
        """Ask a sink's place whether another run has taken it over, and return what to say of it then."""
        lease = self._of_sink[sink.name]
        # Whatever a store's library raises: what is not known ends no run.
        with suppress(Exception):
            lease.check()
        return lease.lost

    def __enter__(self) -> RunLeases:
        _going_on.add(self._holder.nonce)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for lease in self._leases.values():
                lease.give_back()
        finally:
            _going_on.discard(self._holder.nonce)


def _is_gone(holder: Holder) -> bool:
    """Whether a holder is over for sure: its process is, or it is a run of this process that could not give back."""
    if not holder.is_here():
        return False
    own = Holder.of_this_process("", "")
    if (holder.pid, holder.process_started) == (own.pid, own.process_started):
        return holder.nonce not in _going_on
    return not holder.is_alive()
