"""Whether an alias may move to a collection: complete, by the job, not empty, and verified since its last run."""

from __future__ import annotations

from dataclasses import dataclass

from qdrant_client import models

from pipelines.reindex.verified import Verified
from pipelines.sinks.qdrant.collection import Collection
from pipelines.sinks.qdrant.description import LEFT_AT, held_provenance, is_complete

RUN = "run `fleetembed reindex run` to its end first"


@dataclass(frozen=True)
class Refusal:
    """Why an alias may not move: in a few words, and in a sentence that says what to do."""

    short: str
    message: str


def why_unready(
    filled: Collection, info: models.CollectionInfo | None, points: int, fingerprint: str
) -> Refusal | None:
    """Say why a collection is not what a job of a fingerprint is to fill; None where it is. ``points`` is how many."""
    if info is None:
        return Refusal("not there yet", f"{filled.title} is not there yet; {RUN}")
    complete = is_complete(info)
    if complete is None:
        return Refusal(
            "not known whether complete",
            f"{filled.title} does not say whether it is complete: no run has filled it, or the server is older "
            f"than Qdrant 1.16, which is the first that keeps metadata; {RUN}, on such a server",
        )
    if not complete:
        return Refusal("not complete", f"{filled.title} is being filled, or its run was stopped before the end; {RUN}")
    if held_provenance(info).get("fingerprint") != fingerprint:
        return Refusal(
            "filled by another job", f"{filled.title} was filled by another job, with other models or settings; {RUN}"
        )
    if not points:
        return Refusal(
            "empty",
            f"{filled.title} is empty: searchers would find nothing; look at the job's source, and {RUN}",
        )
    return None


def why_unverified(filled: Collection, info: models.CollectionInfo, points: int) -> Refusal | None:
    """Say why no verification vouches for a collection; None where one does."""
    held, way = Verified.of(info), "; or give --unverified, to switch all the same"
    if held is None:
        return Refusal(
            "not verified since its last run",
            f"{filled.title} was not verified since its last run; run `fleetembed reindex verify`{way}",
        )
    if not held.passed:
        failed = ", ".join(held.failed)
        return Refusal(
            f"its verification failed ({failed})",
            f"{filled.title} did not pass its verification of {held.at}: {failed}; see to that, and run `fleetembed "
            f"reindex verify` again, which says what mends each{way}",
        )
    # An alias that named it since let writers in.
    was_asked = str((info.config.metadata or {}).get(LEFT_AT, "")) >= held.at
    if points != held.points and not was_asked:
        return Refusal(
            f"{points:,} points, and {held.points:,} when it was verified",
            f"{filled.title} has {points:,} points, and had {held.points:,} when it was verified at {held.at}: "
            "somebody wrote to it since, and not a run of this tool. See to that, and run `fleetembed reindex "
            f"verify` again{way}",
        )
    return None
