"""Whether all is there: the server is done with the collection, its points are those wanted, and of one job."""

from __future__ import annotations

from functools import partial

from qdrant_client import models

from pipelines.reindex.ids import SHOWN, Difference, compare_ids, read_ids
from pipelines.reindex.verify.lag import not_to_be_deleted, tolerance
from pipelines.reindex.verify.mending import copy_again, fill_to_the_end, take_strangers_away
from pipelines.reindex.verify.result import Check, judged, skipped
from pipelines.reindex.verify.subject import Subject
from pipelines.sinks.qdrant.description import is_complete
from pipelines.sinks.qdrant.points import OURS

NOBODY = "no fingerprint, since another program wrote it"


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
    return judged("state", good, found, "complete, green", figures, [], fill_to_the_end(complete=complete is True))


def check_count(subject: Subject) -> Check:
    """Compare the exact number of points with what is known of it: the old collection's, or the last run's report."""
    points, most = subject.points, subject.tolerated
    if subject.old is not None and (subject.copies_old or subject.writers_go_on):
        old = _count_read(subject)
        wanted = old - subject.dead
        lacking = f", less {subject.dead:,} dead" if subject.dead else ""
        figures = {"points": points, "old_points": old, "dead": subject.dead, "max_differences": most}
        said = f"{old:,} of {subject.old.name}{lacking}{tolerance(subject)}"
        if subject.writers_go_on:
            return Check("points", "reported", f"{points:,}, and {said}", subject.why_not_judged, figures)
        near = abs(points - wanted) <= most
        return judged("points", points > 0 and near, f"{points:,}", said, figures, [], copy_again(subject))
    told = _told(subject)
    figures = {"points": points, **({} if told is None else {"points_in_report": told})}
    if told is None or subject.writers_go_on:
        more = "no report of a whole run tells more" if told is None else f"{told:,} by the last run's report"
        return judged("points", points > 0, f"{points:,}", f"more than 0; {more}", figures, [], copy_again(subject))
    near = abs(points - told) <= most
    said = f"{told:,} by the last run's report{tolerance(subject)}"
    return judged("points", points > 0 and near, f"{points:,}", said, figures, [], copy_again(subject))


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
        return Check("ids", "reported", said, subject.why_not_judged, figures)
    most = subject.tolerated
    good = found.left <= subject.dead + most and found.right <= most
    if good and subject.limits.max_differences is None:
        good = not not_to_be_deleted(subject, found.first_right)
    dead = f", but {subject.dead:,} dead" if subject.dead else ""
    wanted = f"none alone{dead}{tolerance(subject)}"
    return judged("ids", good, said, wanted, figures, [] if good else _first(found), copy_again(subject))


def check_fingerprint(subject: Subject) -> Check:
    """Count the points that the job did not make: those of other jobs, with other models, settings or chunking.

    Beside them those that another program wrote, which after the switch to a copy are as they are to be.
    """
    key = f"{OURS}.fingerprint"
    ours = models.FieldCondition(key=key, match=models.MatchValue(value=subject.job.fingerprint))
    others = models.Filter(must_not=[ours])
    number, of_nobody = _count(subject, others), 0
    samples = []
    if number:
        of_nobody = _count(
            subject, models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key=key))])
        )
        first, _ = subject.ask(
            lambda: subject.client.scroll(subject.new.name, scroll_filter=others, limit=5, with_payload=[OURS]),
            "reading points of other jobs",
        )
        made = [(point.payload or {}).get(OURS) for point in first]
        prints = [
            f"fingerprint {str(one.get('fingerprint'))[:12]}" if isinstance(one, dict) else NOBODY for one in made
        ]
        samples = [f"point {point.id}: {text}" for point, text in zip(first, prints, strict=True)]
    of_jobs = number - of_nobody
    found = f"{of_jobs:,} points of other jobs" + (f", {of_nobody:,} that no job wrote" if of_nobody else "")
    figures = {"fingerprint": subject.job.fingerprint, "points_of_others": number, "points_of_no_job": of_nobody}
    mend = take_strangers_away(subject, of_jobs=of_jobs, of_nobody=of_nobody)
    if of_nobody and not of_jobs and subject.writers_go_on:
        return Check("fingerprint", "reported", found, "0 of other jobs; writers go on here", figures, samples, mend)
    return judged("fingerprint", not number, found, "0", figures, samples, mend)


def _count(subject: Subject, chosen: models.Filter) -> int:
    name = subject.new.name
    request = partial(subject.client.count, name, count_filter=chosen, exact=True)
    return int(subject.ask(request, "counting points of other jobs").count)


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
