"""Whether points read back are whole: every vector of the right size and finite, and the old point's payload."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from more_itertools import chunked

from pipelines.reindex.ids import SHOWN
from pipelines.reindex.verify.result import Check, judged, skipped
from pipelines.reindex.verify.subject import Subject
from pipelines.sinks.qdrant.points import OURS, RESERVED

PAGE = 256


def check_vectors(subject: Subject) -> Check:
    """See that the points sampled have every vector of the job, of the right size, and finite."""
    points = subject.sampled
    bad = [point for point in points if point.faults]
    vectors = len(subject.job.vectors)
    found = f"{len(points) - len(bad):,} of {len(points):,} points whole ({vectors} vector{'s'[: vectors > 1]} each)"
    samples = [f"point {point.id}: {'; '.join(point.faults)}" for point in bad[:SHOWN]]
    figures = {"points": len(points), "faulty": len(bad)}
    return judged("vectors", bool(points) and not bad, found, "all", figures, samples)


def check_payloads(subject: Subject) -> Check:
    """Compare the payloads of the points sampled with the old collection's, where its points were copied."""
    old = subject.old
    if old is None:
        return skipped("payload", "the alias names no other collection to compare with")
    held: dict[Any, dict[str, Any]] = {}
    for some in chunked([point.id for point in subject.sampled], PAGE):
        records = subject.ask(partial(subject.client.retrieve, old.name, some, with_payload=True), "reading old points")
        held |= {record.id: record.payload or {} for record in records}
    both = [point for point in subject.sampled if point.id in held]
    changed = {point.id: keys for point in both if (keys := differing(held[point.id], point.payload))}
    figures = {"points": len(both), "differing": len(changed)}
    said = f"{len(both) - len(changed):,} of {len(both):,} as in the old collection"
    samples = [f"point {name}: {', '.join(keys)}" for name, keys in list(changed.items())[:SHOWN]]
    if not subject.copies_old:
        return Check("payload", "reported", said, "not judged: the source is not the old collection", figures, samples)
    good = len(changed) <= subject.limits.max_differences
    return judged(
        "payload", good, said, "all" if not subject.limits.max_differences else "nearly all", figures, samples
    )


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name the keys of a payload that were changed, lost or added, apart from those that a job writes of itself."""
    inside = new.get("payload")
    moved = inside if isinstance(inside, dict) else {}
    lost = [key for key, value in old.items() if key != OURS and new.get(key) != value and moved.get(key) != value]
    return sorted(lost + [key for key in new if key not in old and key not in RESERVED])
