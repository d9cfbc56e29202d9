"""Lets an alias name again what it named before a switch, and says what is in one of the two collections alone."""

from __future__ import annotations

from pipelines.errors import SinkError
from pipelines.reindex.aliases import Alias, Before
from pipelines.reindex.ids import compare_ids, read_ids
from pipelines.sinks.qdrant.collection import Collection
from pipelines.sinks.qdrant.description import LEFT_AT, utc_now


def roll_back(alias: Alias, filled: Collection, *, copies: bool, dry_run: bool) -> list[str]:
    """See ``Reindexing.rollback``; ``copies`` tells that a switch catches up with a collection of the same server."""
    now, info = alias.target(), filled.info()
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
        return [f"would let {alias.title} name {held}", *_written_since(filled, previous)]
    filled.remember({LEFT_AT: utc_now()})
    alias.point_at(previous.name)
    again = f"; it catches up with {previous.name} then: what was deleted in {now} alone comes back" if copies else ""
    return [
        f"{alias.title} names {held}",
        f"what was written to {now} alone since {before.at} is not found now; a switch takes {now} again{again}",
        *_written_since(filled, previous),
    ]


def _written_since(filled: Collection, previous: Collection) -> list[str]:
    """Say which points are in one collection alone; the alias has moved already, so that nothing is raised."""
    now = filled.name
    try:
        # Through a collection, whose requests are tried again.
        here, there = (read_ids(filled.client, name, filled.ask) for name in (now, previous.name))
        found = compare_ids(here, there)
    except SinkError as error:
        return [f"how many points that are cannot be told: {error}"]
    first = f" (the first: {', '.join(found.first_left)})" if found.left else ""
    back = f"; the {found.right:,} of {previous.name} alone are found again" if found.right else ""
    return [
        f"{found.left:,} points are in {now} alone{first}, {found.right:,} in {previous.name} alone, "
        f"{found.both:,} in both (ids alone; payloads are not compared){back}"
    ]
