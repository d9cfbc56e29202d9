"""What can be done with the alias of a job: look, verify and switch to the collection it filled, go back, clean up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import TracebackType

from rich.console import Console

from pipelines.config.job import JobConfig
from pipelines.embed.checked import JobEmbedders
from pipelines.job_plan import JobPlan
from pipelines.pipeline import EmbeddingPipeline
from pipelines.reindex.aliases import Alias
from pipelines.reindex.catch_up import CatchUp
from pipelines.reindex.clashes import is_taken, taken
from pipelines.reindex.first_run import foretell, make_alias
from pipelines.reindex.leftovers import Leftover, drop, find_leftovers, note_ages
from pipelines.reindex.names import alias_sink, collection_name, is_named_after, with_collections
from pipelines.reindex.origin import find_origin, reads_server_of_alias, refuse_old_server, refuse_same, why_single
from pipelines.reindex.rolling_back import roll_back
from pipelines.reindex.status import Status, read_status
from pipelines.reindex.switched import refuse_switched
from pipelines.reindex.switching import Switching
from pipelines.reindex.verified import Verified
from pipelines.reindex.verify.result import Verification
from pipelines.reindex.verify.subject import Subject
from pipelines.reindex.verify.verify import verify
from pipelines.run.report.report import RunReport
from pipelines.sinks.qdrant.client import open_client


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
        refuse_switched(self._config, self._alias, self._filled)
        catch_up = self._catch_up()
        return EmbeddingPipeline(self._config).plan() if catch_up is None else catch_up.pipeline.plan()

    def run(self, console: Console) -> RunReport:
        """Fill the job's collection; where that copies a collection that lives on, in passes, until it has caught up.

        Where the alias names nothing yet, it is made at the end, unless the job copies such a collection or has a
        ``source.limit``. Raises as ``EmbeddingPipeline.run`` does, and SinkError where the job copies a collection, and
        the alias names the copy already.
        """
        refuse_switched(self._config, self._alias, self._filled)
        report = self._fill(console)
        self._say(make_alias(self._config, self._alias, self._filled))
        return report

    def describe(self) -> list[str]:
        """Say which collection a run would fill, in which passes, what the alias names, and what becomes of it."""
        alias, now = self._alias, self._alias.target()
        lines = [f"{alias.title} names {now} now" if now else f"{alias.title} is not there yet"]
        lines += self._describe_passes(now)
        return [*lines, foretell(self._config, alias, self._filled.name)]

    def verify(self, on_check: Callable[[str, float], None] = lambda title, seconds: None) -> Verification:
        """Look whether the collection that the job filled is what it is to be, and write down there what was found.

        ``on_check`` hears what is looked at next, and how many seconds after the start.
        """
        found = verify(self._subject(), on_check)
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
        copies = reads_server_of_alias(self._config)
        return roll_back(self._alias, self._filled, copies=copies, dry_run=dry_run)

    def status(self) -> Status:
        """Tell of the alias and of the collections that there are for it."""
        return read_status(self._alias, self._filled, self._fingerprint)

    def leftovers(self) -> list[Leftover]:
        """List the alias's collections that no alias names, and which of them are kept, and why."""
        return find_leftovers(self._alias, self._filled.name, self._config.reindex)

    def why_none_left(self) -> str:
        """Say why there is nothing to clean, where ``leftovers`` lists none."""
        alias = self._alias
        if (now := alias.target()) is not None:
            return f"{alias.title} names {now}, and no collection of it is without an alias"
        named = [name for name in alias.collections() if is_named_after(alias.name, name)]
        return f"{alias.title} is not there, and {_no_collection(named)}"

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

    def _subject(self) -> Subject:
        """Find what the collection is to be held against: what the alias names, or else what the job copies."""
        alias, filled, now = self._alias, self._filled, self._alias.target()
        origin = find_origin(self._config, alias)
        if origin is not None and origin.collection.info() is None:
            origin = None
        # Where the alias names nothing yet, searchers may ask the collection that is copied.
        name = now if origin is None or now not in (None, filled.name) else origin.name
        return Subject(
            self._config,
            alias_sink(self._config),
            alias.client,
            filled,
            alias.collection(name) if name is not None and name != filled.name else None,
            origin,
            self._facts,
            self._embedders,
            is_named=now == filled.name,
            clash=taken(alias, filled.name) if is_taken(alias) else None,
        )

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


def _no_collection(named: Sequence[str]) -> str:
    if not named:
        return "neither is a collection for it"
    return f"of {', '.join(named)} none was filled by a job and is without an alias"
