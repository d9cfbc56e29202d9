"""Moves an alias to the collection that a job filled, and copies what was written on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from embedders.errors import FleetembedError
from pipelines.config.reindex import ReindexConfig
from pipelines.errors import SinkError
from pipelines.reindex.aliases import Alias, Before
from pipelines.reindex.catch_up import CatchUp, refuse_many
from pipelines.reindex.clashes import is_taken, taken
from pipelines.reindex.readiness import why_unready, why_unverified
from pipelines.reindex.verified import Verified
from pipelines.sinks.qdrant.collection import Collection
from pipelines.sinks.qdrant.description import BEFORE, CATCHING_UP, LEFT_AT, utc_now
from pipelines.sources.presence import Keys


class Switching:
    """An alias, and the collection that it is to name.

    ``find_catch_up`` makes ready to copy the collection that the job reads, or the one that is given; None where it
    reads none that lives on.
    """

    def __init__(
        self,
        alias: Alias,
        filled: Collection,
        fingerprint: str,
        settings: ReindexConfig,
        find_catch_up: Callable[[str | None], CatchUp | None],
    ) -> None:
        self._alias, self._filled, self._fingerprint = alias, filled, fingerprint
        self._settings, self._find_catch_up = settings, find_catch_up

    def switch(self, *, dry_run: bool, unverified: bool) -> list[str]:
        """See ``Reindexing.switch``."""
        alias, filled, now = self._alias, self._filled, self._alias.target()
        if now == filled.name:
            return self._finish_switch(dry_run=dry_run)
        points = self._refuse_unready(unverified=unverified)
        if is_taken(alias):
            raise SinkError(taken(alias, filled.name))
        came_from = f"in the place of {now}, which stays for a rollback" if now else "which is new"
        catch_up = self._find_catch_up(None)
        if dry_run:
            would = f"would let {alias.title} name {filled.name} ({points:,} points), {came_from}"
            return [would] if catch_up is None else [f"would catch up with {catch_up.name}, before and after", would]
        known = self._catch_up_before(catch_up, unverified=unverified) if catch_up is not None else None
        points, at = filled.count(), utc_now()
        # Before the alias moves: whoever dies in between has changed nothing that searchers see.
        if now:
            alias.collection(now).remember({LEFT_AT: at})
        left = catch_up.name if catch_up is not None else None
        filled.remember({BEFORE: Before(now, at).to_text(), CATCHING_UP: left})
        alias.point_at(filled.name)
        lines = [f"{alias.title} names {filled.name} ({points:,} points), {came_from}"]
        return lines if catch_up is None else [*lines, self._catch_up_after(catch_up, known)]

    def _catch_up_before(self, catch_up: CatchUp, *, unverified: bool) -> Keys:
        """Catch up a last time before the alias moves; returns the keys of the ids that the new collection has.

        The verification stays valid where little has changed since.
        """
        filled, verified = self._filled, self._held_verified()
        catch_up.make_pass()
        if not unverified:
            refuse_many(catch_up.passes, self._settings.until, filled)
        filled.remember(self._entry(verified))
        return catch_up.keys()

    def _catch_up_after(self, catch_up: CatchUp, known: Keys | None) -> str:
        """Copy what was written while the alias moved; says what that was."""
        filled, verified = self._filled, self._held_verified()
        try:
            written, deleted = catch_up.settle(known)
        except FleetembedError as error:
            raise SinkError(
                f"{self._alias.title} names {filled.name} now, and what was written to {catch_up.name} at the last is "
                f"not copied yet: {error}. Give the switch again, which goes on with that"
            ) from error
        filled.remember({CATCHING_UP: None, **self._entry(verified)})
        return f"{written:,} written and {deleted:,} deleted while the alias moved"

    def _held_verified(self) -> Verified | None:
        """Read what the collection's metadata say of its verification, which a pass takes away."""
        info = self._filled.info()
        return Verified.of(info) if info is not None else None

    def _entry(self, verified: Verified | None) -> dict[str, str]:
        """Say it again after a pass, which explains the points that there are now."""
        return {} if verified is None else replace(verified, points=self._filled.count()).entry()

    def _finish_switch(self, *, dry_run: bool) -> list[str]:
        """Copy what a switch that was stopped left to be copied, where there is such."""
        alias, filled = self._alias, self._filled
        done = f"done already: {alias.title} names {filled.name}"
        info = filled.info()
        left = (info.config.metadata or {}).get(CATCHING_UP) if info is not None else None
        if not isinstance(left, str):
            return [done]
        if dry_run:
            return [done, f"would copy what was written to {left} at the last, which a switch that was stopped left"]
        catch_up = self._find_catch_up(left)
        if catch_up is None:
            return [done]
        return [
            done,
            self._catch_up_after(catch_up, None),
            f"the switch had been stopped: points of {left} that were not in {filled.name} were copied, also where "
            "they had been deleted there since",
        ]

    def _refuse_unready(self, *, unverified: bool) -> int:
        """Raise SinkError where the job's collection is not what it is to be; returns its points."""
        filled, info = self._filled, self._filled.info()
        points = filled.count() if info is not None else 0
        refusal = why_unready(filled, info, points, self._fingerprint)
        if refusal is None and info is not None and not unverified:
            refusal = why_unverified(filled, info, points)
        if refusal is not None:
            raise SinkError(refusal.message)
        return points
