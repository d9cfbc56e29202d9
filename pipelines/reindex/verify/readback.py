"""Whether points read back are whole: every vector of the right size and finite, and the old point's payload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from more_itertools import chunked
from qdrant_client import models

from pipelines.reindex.ids import SHOWN, id_order
from pipelines.reindex.verify.lag import is_to_be_copied, tolerance
from pipelines.reindex.verify.mending import copy_again, write_again
from pipelines.reindex.verify.missing import lost_vectors
from pipelines.reindex.verify.result import Check, judged, skipped
from pipelines.reindex.verify.sample import MISSING
from pipelines.reindex.verify.subject import Subject
from pipelines.sinks.qdrant.points import OURS, RESERVED
from pipelines.sources.qdrant.copied import named_vectors

PAGE = 256


def check_vectors(subject: Subject) -> Check:
    """See that the points sampled have every vector of the job, of the right size, and finite.

    A point may lack a sparse vector where its text, embedded here, gives no term, and a vector that was copied where
    the old collection's point lacks it.
    """
    points, lost, lacking = subject.sampled, lost_vectors(subject), _lacking_there(subject)
    faults = {
        point.id: [*(said for said in point.faults if said not in lacking.get(point.id, ())), *lost.get(point.id, [])]
        for point in points
    }
    bad = sorted((name for name, said in faults.items() if said), key=id_order)
    vectors = len(subject.job.vectors)
    found = f"{len(points) - len(bad):,} of {len(points):,} points whole ({vectors} vector{'s'[: vectors > 1]} each)"
    untold = sum(bool(point.empty) and subject.text_of(point) is None for point in points)
    if untold:
        found = f"{found}; of {untold:,} without a sparse vector no text tells whether that is right"
    samples = [f"point {name}: {'; '.join(faults[name])}" for name in bad[:SHOWN]]
    figures = {"points": len(points), "faulty": len(bad), **_listed(bad)}
    good = bool(points) and not bad
    return judged("vectors", good, found, "all", figures, samples, write_again(subject, bad))


def check_payloads(subject: Subject) -> Check:
    """Compare the payloads of the points sampled with the old collection's, where its points were copied.

    A point that was changed there since it was copied is left to the switch, as few as there may be.
    """
    if subject.old is None:
        return skipped("payload", "the alias names no other collection to compare with")
    held = _old_points(subject, subject.old.name)
    both = [point for point in subject.sampled if point.id in held]
    changed = {point.id: keys for point in both if (keys := differing(held[point.id].payload or {}, point.payload))}
    figures: dict[str, Any] = {"points": len(both), "differing": len(changed)}
    said = f"{len(both) - len(changed):,} of {len(both):,} as in the old collection"
    if not subject.copies_old:
        return Check("payload", "reported", said, subject.why_not_judged, figures, _shown(changed))
    most = subject.tolerated
    if subject.limits.max_differences is not None:
        mend, wanted = write_again(subject, [*changed]), f"all{tolerance(subject)}"
        return judged("payload", len(changed) <= most, said, wanted, figures, _shown(changed), mend)
    since = {
        point.id for point in both if point.id in changed and is_to_be_copied(subject, held[point.id], point.payload)
    }
    faults = {name: changed[name] for name in sorted(changed.keys() - since, key=id_order)}
    if since:
        said, figures = f"{said}, {len(since):,} changed there since", {**figures, "changed_since": len(since)}
    good = not faults and len(since) <= most
    if not good:
        figures = {**figures, **_listed([*faults])}
    mend = write_again(subject, [*faults]) if faults else copy_again(subject)
    said_wanted = f"all, or changed there since{tolerance(subject)}" if subject.catches_up else "all"
    return judged("payload", good, said, said_wanted, figures, [] if good else _shown(faults or changed), mend)


def _lacking_there(subject: Subject) -> dict[Any, set[str]]:
    """Say of the points sampled, in the words of their faults, which vectors the points that were copied lack too."""
    source, names = subject.config.source.qdrant, list(subject.job.vectors)
    missing = [point.id for point in subject.sampled if any(said.endswith(f": {MISSING}") for said in point.faults)]
    copied = source is not None and source.vectors and (subject.copies_old or subject.writers_go_on)
    if subject.old is None or not copied:
        return {}
    lacking: dict[Any, set[str]] = {}
    for some in chunked(missing, PAGE):
        read = partial(subject.client.retrieve, subject.old.name, some, with_payload=False, with_vectors=names)
        for record in subject.ask(read, "reading old points"):
            stored = named_vectors(record.vector)
            lacking[record.id] = {f"{name}: {MISSING}" for name in names if stored.get(name) is None}
    return lacking


def _listed(ids: Sequence[Any]) -> dict[str, Any]:
    """All of the ids, for the figures of a check that failed for them."""
    return {"ids": [name if isinstance(name, int) else str(name) for name in ids]} if ids else {}


def _old_points(subject: Subject, old: str) -> dict[Any, models.Record]:
    """Read the points of the old collection that have the ids sampled."""
    held: dict[Any, models.Record] = {}
    for some in chunked([point.id for point in subject.sampled], PAGE):
        records = subject.ask(partial(subject.client.retrieve, old, some, with_payload=True), "reading old points")
        held |= {record.id: record for record in records}
    return held


def _shown(changed: Mapping[Any, list[str]]) -> list[str]:
    return [f"point {name}: {', '.join(keys)}" for name, keys in list(changed.items())[:SHOWN]]


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name the keys of a payload that were changed, lost or added, apart from those that a job writes of itself."""
    inside = new.get("payload")
    moved = inside if isinstance(inside, dict) else {}
    lost = [key for key, value in old.items() if key != OURS and new.get(key) != value and moved.get(key) != value]
    return sorted(lost + [key for key in new if key not in old and key not in RESERVED])
