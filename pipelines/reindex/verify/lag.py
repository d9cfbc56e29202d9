"""What the new collection lacks only because the old one was written to since it was copied: a switch makes it good.

So many points may differ as a switch takes (``reindex.until``), unless ``reindex.verify.max_differences`` says it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qdrant_client import models

from pipelines.reindex.verify.subject import Subject
from pipelines.rows import HASHES
from pipelines.sinks.base import Held
from pipelines.sinks.qdrant.guard import marked
from pipelines.sinks.qdrant.held import held_of
from pipelines.sinks.qdrant.points import FROM, OURS, to_point_id, with_ids
from pipelines.sources.qdrant.rows import point_row


def tolerance(subject: Subject) -> str:
    """Say how many points may differ, behind what is wanted; empty where none may."""
    if not subject.tolerated:
        return ""
    return f", ± {subject.tolerated:,}{' left to the switch' if subject.catches_up else ''}"


def is_to_be_copied(subject: Subject, old: models.Record, new: Mapping[str, Any]) -> bool:
    """Tell whether a point of the old collection was changed since it was copied, so that a pass copies it again.

    ``new`` is the copy's payload. A point that differs from its copy and is not to be copied is a fault of the copy.
    """
    held, source = new.get(OURS), subject.config.source.qdrant
    if not subject.catches_up or source is None or not isinstance(held, Mapping) or held.get(FROM) != _origin(subject):
        return False
    row = point_row(old, source.text)
    wanted = {name: row.get(name) for name in HASHES}
    return row["error"] is None and held_of(held, {**wanted, "fingerprint": subject.job.fingerprint}) != Held.SAME


def not_to_be_deleted(subject: Subject, ids: Sequence[str]) -> int:
    """Count those points of the new collection alone that a pass leaves there, since it did not copy them."""
    if not ids or not subject.catches_up:
        return len(ids)
    chosen = with_ids(marked(_origin(subject)), [to_point_id(name) for name in ids])
    going = subject.ask(
        lambda: subject.client.count(subject.new.name, count_filter=chosen, exact=True),
        "looking which points were copied",
    )
    return len(ids) - int(going.count)


def _origin(subject: Subject) -> str | None:
    return subject.origin.name if subject.origin is not None else None
