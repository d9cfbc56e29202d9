"""Whether all is there: the server is done with the collection, its points are those wanted, and of one job."""

from __future__ import annotations

from qdrant_client import models

from pipelines.reindex.ids import SHOWN, Difference, compare_ids, read_ids
from pipelines.reindex.verify.lag import not_to_be_deleted, tolerance
from pipelines.reindex.verify.result import Check, judged, skipped
from pipelines.reindex.verify.subject import Subject
from pipelines.sinks.qdrant.description import is_complete
from pipelines.sinks.qdrant.points import OURS


def check_state(subject: Subject) -> Check:
    """See that a run filled the collection to its end, and that the server shows all of it: green, none deferred."""
    there = subject.info
    status = subject.new.wait_until_indexed(subject.limits.wait_seconds)
    info = subject.new.info() or there
    complete = is_complete(info)
    queue = info.update_queue
    deferred = (queue.deferred_points or 0) if queue is not None else 0
    filled = {True: "complete", False: "being filled, or stopped before the end", None: "not said"}[complete]
    figures = {"state": filled, "status": status, "deferred_points": deferred}
    found = f"{filled}, {status}" + (f", {deferred:,} points deferred" if deferred else "")
    good = complete is True and status == "green" and not deferred
    return judged("state", good, found, "complete, green", figures, [])


def check_count(subject: Subject) -> Check:
    """Compare the exact number of points with what is known of it: the old collection's, or the last run's report."""
    points, most = subject.points, subject.tolerated
    if subject.copies_old and subject.old is not None:
        old = _count_read(subject)
        wanted = old - subject.dead
        lacking = f", less {subject.dead:,} dead" if subject.dead else ""
        figures = {"points": points, "old_points": old, "dead": subject.dead, "max_differences": most}
        said = f"{old:,} of {subject.old.name}{lacking}{tolerance(subject)}"
        near = abs(points - wanted) <= most
        return judged("points", points > 0 and near, f"{points:,}", said, figures, [])
    told = _told(subject)
    figures = {"points": points, **({} if told is None else {"points_in_report": told})}
    if told is None:
        return judged(
            "points", points > 0, f"{points:,}", "more than 0; no report of a whole run tells more", figures, []
        )
    near = abs(points - told) <= most
    said = f"{told:,} by the last run's report{tolerance(subject)}"
    return judged("points", points > 0 and near, f"{points:,}", said, figures, [])


def check_ids(subject: Subject) -> Check:
    """Compare ids both ways: none may be missing but the dead ones, and none be left over, where they were copied.

    What writers did to the old collection since then, few points, is left to the switch.
    """
    if subject.old is None:
        return skipped("ids", "the alias names no other collection to compare with")
    client = subject.client
    found = compare_ids(
        read_ids(client, subject.old.name, subject.ask, subject.old_filter),
        read_ids(client, subject.new.name, subject.ask),
        keep=max(SHOWN, subject.tolerated),
    )
    figures = {"only_old": found.left, "only_new": found.right, "both": found.both, "dead": subject.dead}
    said = f"{found.left:,} in the old alone, {found.right:,} in the new alone, {found.both:,} in both"
    if not subject.copies_old:
        return Check("ids", "reported", said, "not judged: the source is not the old collection", figures)
    most = subject.tolerated
    good = found.left <= subject.dead + most and found.right <= most
    if good and subject.limits.max_differences is None:
        good = not not_to_be_deleted(subject, found.first_right)
    dead = f", but {subject.dead:,} dead" if subject.dead else ""
    return judged("ids", good, said, f"none alone{dead}{tolerance(subject)}", figures, [] if good else _first(found))


def check_fingerprint(subject: Subject) -> Check:
    """Count the points that another job made: other models, settings or chunking."""
    ours = models.FieldCondition(key=f"{OURS}.fingerprint", match=models.MatchValue(value=subject.job.fingerprint))
    others = models.Filter(must_not=[ours])
    name = subject.new.name
    number = subject.ask(
        lambda: subject.client.count(name, count_filter=others, exact=True), "counting points of other jobs"
    ).count
    samples = []
    if number:
        first, _ = subject.ask(
            lambda: subject.client.scroll(name, scroll_filter=others, limit=5, with_payload=[OURS]),
            "reading points of other jobs",
        )
        made = [(point.payload or {}).get(OURS) for point in first]
        prints = [str(one.get("fingerprint"))[:12] if isinstance(one, dict) else "none" for one in made]
        samples = [f"point {point.id}: fingerprint {text}" for point, text in zip(first, prints, strict=True)]
    figures = {"fingerprint": subject.job.fingerprint, "points_of_others": number}
    return judged("fingerprint", not number, f"{number:,} points of other jobs", "0", figures, samples)


def _told(subject: Subject) -> int | None:
    """The points that the collection had at the end of the last run, by its report."""
    sinks = (subject.report or {}).get("sinks", [])
    return next((one.get("points") for one in sinks if one.get("collection") == subject.new.name), None)


def _count_read(subject: Subject) -> int:
    assert subject.old is not None
    old, chosen = subject.old.name, subject.old_filter
    counted = subject.ask(
        lambda: subject.client.count(old, count_filter=chosen, exact=True), "counting the old collection's points"
    )
    return int(counted.count)


def _first(found: Difference) -> list[str]:
    return [f"{point} is in the old alone" for point in found.first_left[:SHOWN]] + [
        f"{point} is in the new alone" for point in found.first_right[:SHOWN]
    ]
