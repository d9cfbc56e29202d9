"""What can be done with the alias of a job: look, verify and switch to the collection it filled, go back, clean up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

from qdrant_client import models

from pipelines.config.job import JobConfig
from pipelines.embed.checked import JobEmbedders
from pipelines.errors import SinkError
from pipelines.reindex.aliases import Alias, Before
from pipelines.reindex.ids import compare_ids, read_ids
from pipelines.reindex.leftovers import Leftover, drop, find_leftovers, note_ages
from pipelines.reindex.names import alias_sink, collection_name, is_named_after, with_collections
from pipelines.reindex.verified import Verified
from pipelines.reindex.verify.result import Verification
from pipelines.reindex.verify.subject import Subject
from pipelines.reindex.verify.verify import verify
from pipelines.sinks.qdrant.client import open_client
from pipelines.sinks.qdrant.description import BEFORE, COMPLETE, FILLING, LEFT_AT, held_provenance, is_complete, utc_now


@dataclass(frozen=True)
class Row:
    """One collection as ``status`` tells of it.

    ``state`` is filling, complete or unknown; ``models`` maps vectors to the models that made them. ``verified`` tells
    whether a verification since the last run passed, None where there was none.
    """

    collection: str
    points: int
    state: str
    models: dict[str, str]
    verified: bool | None = None


@dataclass(frozen=True)
class Status:
    """What an alias names, which collections there are for it, and what a switch or a rollback would let it name.

    ``names``, ``switch_to`` and ``rollback_to`` are None where there is none. ``collection`` is the one that the job
    fills.
    """

    alias: str
    names: str | None
    collection: str
    switch_to: str | None
    rollback_to: str | None
    collections: list[Row]


class Reindexing:
    """The alias of a job and the collection that the job fills; use it in ``with``.

    Raises ConfigError for a job without an alias, and, as all of its methods do, SinkError where the server refuses or
    stays away. ``switch`` and ``rollback`` change nothing where they raise, and return lines that say what they did, or
    with ``dry_run`` what they would do.
    """

    def __init__(self, config: JobConfig) -> None:
        sink = alias_sink(config)
        embedders = JobEmbedders()
        with_collections(config, embedders)
        self._config, self._facts, self._embedders = config, embedders.facts(config), embedders.load(config)
        self._fingerprint = self._facts.fingerprint
        self._alias = Alias(open_client(sink), sink)
        self._filled = self._alias.collection(collection_name(self._alias.name, self._fingerprint))

    def __enter__(self) -> Reindexing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._alias.client.close()

    def describe(self) -> list[str]:
        """Say which collection a run would fill, and what the alias names now."""
        alias, now = self._alias, self._alias.target()
        lines = [f"{alias.title} names {now} now" if now else f"{alias.title} is not there yet"]
        if now == self._filled.name:
            return [*lines, f"a run adds to {now}, which searchers ask; there is nothing to switch"]
        lines.append(f"a run fills {self._filled.name} and does not touch the alias; a switch lets it name that one")
        return [*lines, self._taken()] if alias.name in alias.collections() else lines

    def verify(self, on_check: Callable[[str], None] = lambda title: None) -> Verification:
        """Look whether the collection that the job filled is what it is to be, and write down there what was found.

        ``on_check`` hears what is looked at next.
        """
        now = self._alias.target()
        old = self._alias.collection(now) if now is not None and now != self._filled.name else None
        sink = alias_sink(self._config)
        found = verify(
            Subject(self._config, sink, self._alias.client, self._filled, old, self._facts, self._embedders), on_check
        )
        record = Verified(found.at, found.passed, found.points, [check.name for check in found.failed])
        self._filled.remember(record.entry())
        return found

    def switch(self, *, dry_run: bool = False, unverified: bool = False) -> list[str]:
        """Let the alias name the collection that the job filled, once it is complete and verified.

        ``unverified`` does without a verification.
        """
        alias, filled, now = self._alias, self._filled, self._alias.target()
        if now == filled.name:
            return [f"done already: {alias.title} names {now}"]
        points = self._refuse_unready(unverified=unverified)
        if alias.name in alias.collections():
            raise SinkError(self._taken())
        came_from = f"in the place of {now}, which stays for a rollback" if now else "which is new"
        if dry_run:
            return [f"would let {alias.title} name {filled.name} ({points:,} points), {came_from}"]
        at = utc_now()
        # Before the alias moves: whoever dies in between has changed nothing that searchers see.
        if now:
            alias.collection(now).remember({LEFT_AT: at})
        filled.remember({BEFORE: Before(now, at).to_text()})
        alias.point_at(filled.name)
        return [f"{alias.title} names {filled.name} ({points:,} points), {came_from}"]

    def rollback(self, *, dry_run: bool = False) -> list[str]:
        """Let the alias name again what it named before the switch to the collection of this job."""
        alias, filled, now = self._alias, self._filled, self._alias.target()
        info = filled.info()
        before = Before.of(info) if info is not None else None
        if before is None:
            raise SinkError(f"{filled.title}: no switch to it is written down, so there is nothing to go back from")
        if before.collection is None:
            raise SinkError(f"{filled.title} is the first that {alias.name} named: there is nothing to go back to")
        if now == before.collection:
            return [f"done already: {alias.title} names {now}"]
        if now != filled.name:
            raise SinkError(
                f"{alias.title} names {now or 'nothing'}, and this job's collection is {filled.name}: give the "
                "configuration of the job that was switched to, or switch with this one"
            )
        previous = alias.collection(before.collection)
        if previous.info() is None:
            raise SinkError(
                f"{previous.title}, which {alias.name} named until {before.at}, is not there any more; run its job "
                "again with its configuration, and switch"
            )
        held = f"{previous.name} ({previous.count():,} points) in the place of {now} ({filled.count():,} points)"
        if dry_run:
            return [f"would let {alias.title} name {held}", *self._written_since(now, previous.name)]
        filled.remember({LEFT_AT: utc_now()})
        alias.point_at(previous.name)
        return [
            f"{alias.title} names {held}",
            f"what was written to {now} alone since {before.at} is not found now; a switch takes {now} again",
            *self._written_since(now, previous.name),
        ]

    def status(self) -> Status:
        """Tell of the alias and of the collections that there are for it."""
        alias, now = self._alias, self._alias.target()
        names = [name for name in alias.collections() if is_named_after(alias.name, name) or name == now]
        infos = {name: info for name in names if (info := alias.collection(name).info()) is not None}
        own = infos.get(self._filled.name)
        before = Before.of(own) if own is not None and now == self._filled.name else None
        back = before.collection if before is not None else None
        ready = own is not None and now != self._filled.name and is_complete(own) is True
        return Status(
            alias=alias.name,
            names=now,
            collection=self._filled.name,
            switch_to=self._filled.name if ready else None,
            rollback_to=back if back is not None and alias.collection(back).info() is not None else None,
            collections=[
                Row(name, alias.collection(name).count(), _state(info), _models(info), _verified(info))
                for name, info in infos.items()
            ],
        )

    def leftovers(self) -> list[Leftover]:
        """List the alias's collections that no alias names, and which of them are kept, and why."""
        return find_leftovers(self._alias, self._filled.name, self._config.reindex)

    def clean(self, found: Sequence[Leftover]) -> Iterator[str]:
        """Drop those of the leftovers that are not kept; yields what was done to each."""
        note_ages(self._alias, found)
        yield from drop(self._alias, found, snapshot=self._config.reindex.snapshot)

    def _written_since(self, now: str, previous: str) -> list[str]:
        """Say which points are in one collection alone; the alias has moved already, so that nothing is raised."""
        client = self._alias.client
        try:
            # Through a collection, whose requests are tried again.
            ids = (read_ids(client, name, self._filled.ask) for name in (now, previous))
            found = compare_ids(*ids)
        except SinkError as error:
            return [f"how many points that are cannot be told: {error}"]
        first = f" (the first: {', '.join(found.first_left)})" if found.left else ""
        return [
            f"{found.left:,} points are in {now} alone{first}, {found.right:,} in {previous} alone, "
            f"{found.both:,} in both"
        ]

    def _refuse_unready(self, *, unverified: bool) -> int:
        """Raise SinkError where the job's collection is not what it is to be; returns its points."""
        filled, run = self._filled, "run `fleetembed reindex run` to its end first"
        info = filled.info()
        if info is None:
            raise SinkError(f"{filled.title} is not there yet; {run}")
        complete = is_complete(info)
        if complete is None:
            raise SinkError(
                f"{filled.title} does not say whether it is complete: no run has filled it, or the server is older "
                f"than Qdrant 1.16, which is the first that keeps metadata; {run}, on such a server"
            )
        if not complete:
            raise SinkError(f"{filled.title} is being filled, or its run was stopped before the end; {run}")
        if held_provenance(info).get("fingerprint") != self._fingerprint:
            raise SinkError(f"{filled.title} was filled by another job, with other models or settings; {run}")
        points = filled.count()
        if not points:
            raise SinkError(
                f"{filled.title} is empty: searchers would find nothing; look at the job's source, and {run}"
            )
        if not unverified:
            self._refuse_unverified(info)
        return points

    def _refuse_unverified(self, info: models.CollectionInfo) -> None:
        held, filled = Verified.of(info), self._filled
        way = "; or give --unverified, to switch all the same"
        if held is None:
            raise SinkError(f"{filled.title} was not verified since its last run; run `fleetembed reindex verify`{way}")
        if not held.passed:
            raise SinkError(
                f"{filled.title} did not pass its verification of {held.at}: {', '.join(held.failed)}; see to that, "
                f"and run `fleetembed reindex verify` again{way}"
            )

    def _taken(self) -> str:
        alias = self._alias
        return (
            f"{alias.title}: a collection has that name, which no alias can take then. Either choose another alias, "
            f"and let searchers ask that one from now on: no gap. Or, once {self._filled.name} is complete, delete the "
            f"collection {alias.name} (DELETE /collections/{alias.name}) and switch at once: searches fail from the "
            "one to the other, and there is no way back to what it held"
        )


def _state(info: models.CollectionInfo) -> str:
    return {True: COMPLETE, False: FILLING, None: "unknown"}[is_complete(info)]


def _verified(info: models.CollectionInfo) -> bool | None:
    held = Verified.of(info)
    return held.passed if held is not None else None


def _models(info: models.CollectionInfo) -> dict[str, str]:
    held = held_provenance(info).get("models")
    return {str(name): str(model) for name, model in held.items()} if isinstance(held, dict) else {}
