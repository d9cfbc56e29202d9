"""Collections of an alias that no alias names any more: which of them may go, and dropping those."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from qdrant_client import models

from pipelines.config.reindex import ReindexConfig
from pipelines.errors import SinkError
from pipelines.reindex.aliases import Alias, Before
from pipelines.reindex.names import is_named_after
from pipelines.sinks.lease.lease import current_holder
from pipelines.sinks.qdrant.description import LEFT_AT, STATE_AT, held_provenance, is_complete, utc_now

SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class Leftover:
    """A collection that no alias names: its points, its age in days, and why it is kept, None where it may go.

    The age counts from when a run last began or ended there, or an alias left it; None where nothing says.
    """

    collection: str
    points: int
    days: float | None
    kept: str | None

    def describe(self) -> str:
        """Say what it is, for people."""
        age = "of unknown age" if self.days is None else f"{self.days:.1f} days old"
        return f"{self.collection} ({self.points:,} points, {age})"


def find_leftovers(alias: Alias, filled: str, settings: ReindexConfig) -> list[Leftover]:
    """List the collections that are named after an alias, were filled by this tool, and that no alias names.

    ``filled`` is the one that the job fills.
    """
    named = set(alias.targets().values())
    names = [name for name in alias.collections() if is_named_after(alias.name, name)]
    infos = {name: info for name in names if (info := alias.collection(name).info()) is not None}
    current = alias.target()
    if current is not None and current not in infos and (info := alias.collection(current).info()) is not None:
        infos[current] = info
    previous = _previous(infos, current, named)[: settings.keep]
    found = []
    for name in names:
        if name in named or name not in infos or not held_provenance(infos[name]):
            continue
        days = _days(infos[name])
        if (why := _held(alias, name)) is not None:
            kept: str | None = why
        elif name == filled:
            kept = "this job fills it"
        elif name in previous:
            kept = f"kept for a rollback (reindex.keep: {settings.keep})"
        elif days is None:
            kept = "its age is not known, and counts from now on"
        elif days < settings.keep_days:
            state = "being filled, or stopped, and " if is_complete(infos[name]) is False else ""
            kept = f"{state}younger than {settings.keep_days:g} days (reindex.keep_days)"
        else:
            kept = None
        found.append(Leftover(name, alias.collection(name).count(), days, kept))
    return found


def note_ages(alias: Alias, found: Sequence[Leftover]) -> None:
    """Write down a time where a collection's metadata say none, as those of earlier versions do not."""
    for one in found:
        if one.days is None:
            alias.collection(one.collection).remember({LEFT_AT: utc_now()})


def drop(alias: Alias, found: Sequence[Leftover], *, snapshot: bool) -> Iterator[str]:
    """Delete collections, and say of each what was done; one that is named or written to by now is left alone.

    Deleting takes aliases along, so these are asked for right before each deletion.
    """
    for one in found:
        if one.kept is not None:
            continue
        name = one.collection
        if alias.collection(name).info() is None:
            yield f"gone already: {name}"
            continue
        if snapshot:
            yield f"snapshot {alias.snapshot(name)} of {name} is on the server"
        why = _held(alias, name)
        if why is None and name in alias.targets().values():
            why = "an alias names it by now"
        if why is not None:
            yield f"left alone: {name}, {why}"
            continue
        alias.delete(name)
        yield f"dropped {one.describe()}"


def _previous(infos: Mapping[str, models.CollectionInfo], current: str | None, named: set[str]) -> list[str]:
    """List what the alias named before and names no more, the newest first: rollback's target before all others."""
    befores = {name: before for name, info in infos.items() if (before := Before.of(info)) is not None}
    left: dict[str, str] = {}
    for name, before in befores.items():
        # Named once, until somebody took it back or another took its place.
        left[name] = max(left.get(name, ""), before.at)
        if before.collection is not None:
            left[before.collection] = max(left.get(before.collection, ""), before.at)
    for name, info in infos.items():
        at = (info.config.metadata or {}).get(LEFT_AT)
        if isinstance(at, str) and name in left:
            left[name] = max(left[name], at)
    newest = sorted((name for name in left if name not in named and name in infos), key=lambda name: left[name])[::-1]
    back = befores[current].collection if current in befores else None
    return sorted(newest, key=lambda name: name != back)


def _days(info: models.CollectionInfo) -> float | None:
    metadata, before = info.config.metadata or {}, Before.of(info)
    times = [metadata.get(STATE_AT), metadata.get(LEFT_AT), before.at if before is not None else None]
    known = [time for time in map(_time, times) if time is not None]
    return (datetime.now(timezone.utc) - max(known)).total_seconds() / SECONDS_A_DAY if known else None


def _time(text: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return time.replace(tzinfo=timezone.utc) if time is not None and time.tzinfo is None else time


def _held(alias: Alias, name: str) -> str | None:
    try:
        holder = current_holder(alias.lease(name))
    except SinkError:
        return "who writes to it cannot be found out"
    return f"held by {holder.describe()}" if holder is not None else None
