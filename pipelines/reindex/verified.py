"""What a collection's metadata say of its last verification, by which a switch knows."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from qdrant_client import models

from pipelines.sinks.qdrant.description import VERIFIED


@dataclass(frozen=True)
class Verified:
    """When a collection was verified (ISO 8601, UTC), whether it passed, and how many points it had then.

    ``failed`` names the checks that failed. A run that writes to the collection takes the record away; a switch puts it
    back with the points that there are after it caught up.
    """

    at: str
    passed: bool
    points: int
    failed: list[str]

    def entry(self) -> dict[str, str]:
        """Write it for the metadata of the collection."""
        return {VERIFIED: json.dumps(asdict(self))}

    @classmethod
    def of(cls, info: models.CollectionInfo) -> Verified | None:
        """Read what a collection's metadata say; None where it was not verified since its last run."""
        text = (info.config.metadata or {}).get(VERIFIED)
        try:
            held = json.loads(text) if isinstance(text, str) else {}
            return cls(str(held["at"]), held["passed"] is True, int(held["points"]), [*map(str, held["failed"])])
        except (ValueError, TypeError, KeyError):
            return None
