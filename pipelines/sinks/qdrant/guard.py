"""Writing to a collection that others write to as well: what they wrote stays, whenever they did.

A point that a job copied from another collection says which one (``points.FROM``). Whoever replaces such a point or its
payload drops that mark, so that a point without it is somebody else's, and newer than what was copied. Qdrant looks at
the mark and writes in one step, so that no write is lost in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from qdrant_client import models

from pipelines.sinks.base import Held
from pipelines.sinks.qdrant.batches import Points
from pipelines.sinks.qdrant.points import FROM, OURS
from pipelines.sources.presence import Presence

# Version of Qdrant from which an upsert may have a condition; older ones ignore it in silence.
GUARDED_SINCE = (1, 16)
MARK = f"{OURS}.{FROM}"


@dataclass(frozen=True)
class Guard:
    """Lets a job write new points, and replace those alone that carry the mark.

    ``known`` are ids whose points must be there: where one is not, somebody deleted it, and it is not made anew.
    """

    known: Presence | None = None

    def code(self, stored: Any, wanted: Mapping[str, Any], compare: Callable[[Any, Mapping[str, Any]], Held]) -> Held:
        """Say what a collection holds of a row whose point is there; ``stored`` is its entry OURS, if it has one.

        Somebody else's point is the newer one, and counts as held. One copied from a third collection is marked anew.
        """
        mark = stored.get(FROM) if isinstance(stored, Mapping) else None
        if mark is None:
            return Held.SAME
        found = compare(stored, wanted)
        return Held.VECTORS if found == Held.SAME and mark != wanted.get(FROM) else found

    def deleted(self, ids: Sequence[Any]) -> npt.NDArray[np.bool_]:
        """Mark the ids, of which no point is there, whose points somebody deleted."""
        if self.known is None:
            return np.zeros(len(ids), np.bool_)
        return ~self.known.lacks(pa.array(map(str, ids), pa.string()))

    def parts(self, points: Points) -> list[tuple[Points, models.UpdateMode | None]]:
        """Cut points into those that may be made and those that may only be replaced, each with its mode of upsert."""
        if self.known is None:
            return [(points, None)]
        known = self.deleted(points.ids)
        cuts = (np.flatnonzero(known[1:] != known[:-1]) + 1).tolist()
        return [
            (points.part(start, stop), models.UpdateMode.UPDATE_ONLY if known[start] else None)
            for start, stop in pairwise([0, *cuts, len(points)])
        ]


def marked(old: str | None = None) -> models.Filter:
    """Choose the points that carry the mark: any, or that of a collection."""
    if old is None:
        return models.Filter(must_not=[models.IsEmptyCondition(is_empty=models.PayloadField(key=MARK))])
    return models.Filter(must=[models.FieldCondition(key=MARK, match=models.MatchValue(value=old))])


def unmarked() -> models.Filter:
    """Choose the points that do not carry it."""
    return models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key=MARK))])
