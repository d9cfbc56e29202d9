"""What can be done with the alias of a job: look, verify and switch to the collection it filled, go back, clean up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType

from qdrant_client import models
from rich.console import Console

from pipelines.config.job import JobConfig
from pipelines.embed.checked import JobEmbedders
from pipelines.errors import SinkError
from pipelines.pipeline import EmbeddingPipeline, JobPlan
from pipelines.reindex.aliases import Alias, Before
from pipelines.reindex.catch_up import CatchUp
from pipelines.reindex.first_run import foretell, make_alias
from pipelines.reindex.ids import compare_ids, read_ids
from pipelines.reindex.leftovers import Leftover, drop, find_leftovers, note_ages
from pipelines.reindex.names import alias_sink, collection_name, is_named_after, with_collections
from pipelines.reindex.origin import find_origin, refuse_old_server, refuse_same, why_single
from pipelines.reindex.switching import Switching
from pipelines.reindex.verified import Verified
from pipelines.reindex.verify.result import Verification
from pipelines.reindex.verify.subject import Subject
from pipelines.reindex.verify.verify import verify
from pipelines.run.report.report import RunReport
from pipelines.sinks.qdrant.client import open_client
from pipelines.sinks.qdrant.description import (
    COMPLETE,
    FILLING,
    LEFT_AT,
    held_provenance,
    is_complete,
    utc_now,
)


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

    def __init__(self, config: JobConfig, say: Callable[[str], None] = lambda line: None) -> None:
        """Take a job; ``say`` hears what ``run`` and ``switch`` do meanwhile, and what ``run`` did with the alias."""
        sink = alias_sink(config)
        embedders = JobEmbedders()
        with_collections(config, embedders)
        self._config, self._facts, self._embedders = config, embedders.facts(config), embedders.load(config)
        self._made, self._say = embedders, say
        self._fingerprint = self._facts.fingerprint
        self._alias = Alias(open_client(sink), sink)
        self._filled = self._alias.collection(collection_name(self._alias.name, self._fingerprint))

    def __enter__(self) -> Reindexing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._alias.client.close()

    def plan(self) -> JobPlan:
        """Plan a run of the job, or its first pass; raises what ``run`` would raise before it embeds anything."""
        catch_up = self._catch_up()
        return EmbeddingPipeline(self._config).plan() if catch_up is None else catch_up.pipeline.plan()

    def run(self, console: Console) -> RunReport:
        """Fill the job's collection; where that copies a collection that lives on, in passes, until it has caught up.

        Where the alias names nothing yet, it is made at the end, unless the job copies such a collection or has a
        ``source.limit``. Raises as ``EmbeddingPipeline.run`` does.
        """
        report = self._fill(console)
        self._say(make_alias(self._config, self._alias, self._filled))
        return report

    def describe(self) -> list[str]:
        """Say which collection a run would fill, in which passes, what the alias names, and what becomes of it."""
        alias, now = self._alias, self._alias.target()
        lines = [f"{alias.title} names {now} now" if now else f"{alias.title} is not there yet"]
        lines += self._describe_passes(now)
        return [*lines, foretell(self._config, alias, self._filled.name)]

    def verify(self, on_check: Callable[[str], None] = lambda title: None) -> Verification:
        """Look whether the collection that the job filled is what it is to be, and write down there what was found.

        ``on_check`` hears what is looked at next.
        """
        alias, now, origin = self._alias, self._alias.target(), find_origin(self._config, self._alias)
        if origin is not None and origin.collection.info() is None:
            origin = None
        # Where the alias names nothing yet, searchers may ask the collection that is copied.
        name = now if now is not None or origin is None else origin.name
        old = alias.collection(name) if name is not None and name != self._filled.name else None
        subject = Subject(
            self._config,
            alias_sink(self._config),
            alias.client,
            self._filled,
            old,
            origin,
            self._facts,
            self._embedders,
        )
        found = verify(subject, on_check)
        record = Verified(found.at, found.passed, found.points, [check.name for check in found.failed])
        self._filled.remember(record.entry())
        return found

    def switch(self, *, dry_run: bool = False, unverified: bool = False) -> list[str]:
        """Let the alias name the collection that the job filled, once it is complete and verified.

        ``unverified`` does without a verification. Where the collection that the job reads lives on, what writers did
        is copied before, and what they did while the alias moved is after it.
        """
        switching = Switching(self._alias, self._filled, self._fingerprint, self._config.reindex, self._last_catch_up)
        return switching.switch(dry_run=dry_run, unverified=unverified)

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

    def _fill(self, console: Console) -> RunReport:
        catch_up = self._catch_up()
        if catch_up is not None:
            return catch_up.run(console)
        if (why := why_single(self._config)) is not None:
            self._say(f"a single pass, without deletions: {why}")
        return EmbeddingPipeline(self._config, embedders=self._made).run(console=console)

    def _catch_up(self, old: str | None = None) -> CatchUp | None:
        """Make ready to copy the collection that the job reads, or ``old``; None where it reads none that lives on."""
        origin = find_origin(self._config, self._alias)
        if origin is None:
            return None
        if old is not None:
            origin = replace(origin, collection=self._alias.collection(old))
        refuse_same(origin, self._filled)
        refuse_old_server(self._alias)
        return CatchUp(self._config, origin, self._filled, self._made, self._say)

    def _last_catch_up(self, old: str | None) -> CatchUp | None:
        """Make ready to copy what is left; None also where the old collection was deleted to set its name free."""
        catch_up = self._catch_up(old)
        if catch_up is None or self._alias.collection(catch_up.name).info() is not None:
            return catch_up
        self._say(f"{catch_up.name} is not there any more, so that there is nothing to catch up with")
        return None

    def _describe_passes(self, now: str | None) -> list[str]:
        origin = find_origin(self._config, self._alias)
        if origin is None:
            why = why_single(self._config)
            return [f"a run makes a single pass, without deletions: {why}"] if why is not None else []
        settings, points = self._config.reindex, f"{origin.collection.count():,} points"
        lines = [
            f"a run copies {origin.name} ({points}) in a first pass, then in at most {settings.passes} more, until one "
            f"finds fewer than {settings.until:,} changes; what writers do meanwhile is caught up with, deletions too, "
            "and by the switch a last time"
        ]
        if now is not None and now != origin.name:
            lines.append(f"what is written to {now}, which the alias names, is not copied: the job reads {origin.name}")
        return lines

    def _written_since(self, now: str, previous: str) -> list[str]:
        """Say which points are in one collection alone; the alias has moved already, so that nothing is raised."""
        client = self._alias.client
        try:
            # Through a collection, whose requests are tried again.
            here, there = (read_ids(client, name, self._filled.ask) for name in (now, previous))
            found = compare_ids(here, there)
        except SinkError as error:
            return [f"how many points that are cannot be told: {error}"]
        first = f" (the first: {', '.join(found.first_left)})" if found.left else ""
        return [
            f"{found.left:,} points are in {now} alone{first}, {found.right:,} in {previous} alone, "
            f"{found.both:,} in both"
        ]


def _state(info: models.CollectionInfo) -> str:
    return {True: COMPLETE, False: FILLING, None: "unknown"}[is_complete(info)]


def _verified(info: models.CollectionInfo) -> bool | None:
    held = Verified.of(info)
    return held.passed if held is not None else None


def _models(info: models.CollectionInfo) -> dict[str, str]:
    held = held_provenance(info).get("models")
    return {str(name): str(model) for name, model in held.items()} if isinstance(held, dict) else {}
