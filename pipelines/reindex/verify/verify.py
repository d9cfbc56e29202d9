"""Verifies a collection: all checks, in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pipelines.reindex.verify.completeness import check_count, check_fingerprint, check_ids, check_state
from pipelines.reindex.verify.index_recall import check_recall
from pipelines.reindex.verify.readback import check_payloads, check_vectors
from pipelines.reindex.verify.reembedding import check_reembedding
from pipelines.reindex.verify.result import Check, Verification
from pipelines.reindex.verify.retrieval import check_retrieval
from pipelines.reindex.verify.subject import Subject
from pipelines.sinks.qdrant.description import utc_now

# What is looked at, in words, and what makes the checks of it.
Look = tuple[str, Callable[[Subject], Check | list[Check]]]
LOOKS: tuple[Look, ...] = (
    ("state of the collection", check_state),
    ("number of points", check_count),
    ("ids", check_ids),
    ("fingerprint", check_fingerprint),
    ("vectors read back", check_vectors),
    ("payloads read back", check_payloads),
    ("texts embedded again", check_reembedding),
    ("recall of the index", check_recall),
    ("old against new", check_retrieval),
)


def verify(
    subject: Subject,
    on_check: Callable[[str, float], None] = lambda title, seconds: None,
    looks: Sequence[Look] = LOOKS,
    beside: str | None = None,
) -> Verification:
    """Make all checks; ``on_check`` hears what is looked at next, and how many seconds after the start.

    ``beside`` names what the collection is compared with where that is in another place, and no alias is to move.
    Raises SinkError where the collection is not there or the server does not answer, ConfigError for files of queries
    that cannot be read.
    """
    started, at = time.monotonic(), utc_now()
    checks: list[Check] = []
    for title, check in looks:
        on_check(title, time.monotonic() - started)
        found = check(subject)
        checks += found if isinstance(found, list) else [found]
    return Verification(
        alias=subject.sink.searched if beside is None else None,
        address=subject.sink.address,
        collection=subject.new.name,
        old=subject.old.name if subject.old is not None else beside,
        fingerprint=subject.job.fingerprint,
        at=at,
        seconds=round(time.monotonic() - started, 2),
        points=subject.points,
        checks=checks,
        is_named=subject.is_named,
        clash=subject.clash,
    )
