"""What mends a check that failed, in words: each says what to do, with the ids of points where it is about some."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipelines.reindex.ids import PointId
from pipelines.reindex.verify.subject import Subject

# Ids that are told; the figures of a check have all.
MOST_IDS = 20
RUN = "`fleetembed reindex run`"
WRITERS = 'docs/reindexing.md, "Writers after a switch"'


def write_again(subject: Subject, ids: Sequence[PointId]) -> str:
    """Say how points of the new collection get their vectors and payload anew; empty without points."""
    if not ids:
        return ""
    new, some = subject.new.name, [name if isinstance(name, int) else str(name) for name in ids[:MOST_IDS]]
    more = f", and the {len(ids) - MOST_IDS:,} further ones of reindex-verify.json" if len(ids) > MOST_IDS else ""
    again = f"give {RUN} again, which writes them anew"
    if subject.writers_go_on:
        again = f"let whoever writes them give their vectors ({WRITERS})"
    request = json.dumps({"points": some})
    looked = len(subject.sampled)
    rest = ""
    if looked < subject.points:
        rest = (
            f". Of {subject.points:,} points {looked:,} were looked at: --set reindex.verify.sample={subject.points} "
            "looks at all"
        )
    how = f"POST /collections/{new}/points/delete {request}"
    if subject.sink.path is not None:
        how = f"Searcher.open({new!r}, path={subject.sink.path!r}).client.delete({new!r}, {some})"
    return f"delete these points of {new} ({how}){more}, and {again}{rest}"


def copy_again(subject: Subject) -> str:
    """Say how ids, or the number of points, come to agree with the collection that is copied, or with a report."""
    if not subject.copies_old:
        return f"{RUN} again writes what is missing, and counts anew; what others wrote there is theirs to delete"
    assert subject.old is not None
    return (
        f"{RUN} again copies what {subject.old.name} has alone, and deletes what was copied and is there no more; "
        f"points that others wrote to {subject.new.name} are left as they are: delete those that nobody wants"
    )


def fill_to_the_end(*, complete: bool) -> str:
    """Say how a collection comes to be complete and indexed."""
    if not complete:
        return f"{RUN} to its end"
    return "wait until the server has indexed it, and verify again (reindex.verify.wait_seconds is how long that waits)"


def take_strangers_away(subject: Subject, *, of_jobs: int, of_nobody: int) -> str:
    """Say what becomes of points that the job did not make: of other jobs, and without a mark of any job."""
    new, said = subject.new.name, []
    if of_jobs:
        said.append(
            f"delete the points of other jobs, whose vectors do not compare with the others' (by the filter "
            f"_fleetembed.fingerprint, or all of {new}), and give {RUN} again"
        )
    if of_nobody:
        said.append(
            "the points without _fleetembed were written by another program, not by a job: they are found by the "
            "vectors that it gave them, if any, and a job over files refuses to add beside them. Delete them, and let "
            f"a job over their source write them; or keep them, with vectors of this collection's models ({WRITERS})"
        )
    return "; ".join(said)


def find_what_differs(subject: Subject, ids: Sequence[PointId], looked_at: int) -> str:
    """Say what to do where models make other vectors than those that are stored, of so many points looked at."""
    if len(ids) <= looked_at / 2:
        return write_again(subject, ids)
    return (
        "these are most points, so that the model's files, or versions, may be others here than where the run was: see "
        f"to that first; where they are right here, delete {subject.new.name} and run again"
    )


INDEX = (
    "wait until the index is built, or build a better one (sink.hnsw), and verify again; reindex.verify.min_recall is "
    "what is wanted"
)
FINDS_LESS = (
    "the new models find known documents worse than the old ones: choose others, or where that is as wanted raise "
    "reindex.verify.margin"
)
