"""Deferred points: written and safe, but hidden from all reads until the optimizer has been over them.

Qdrant has them where a collection's ``prevent_unoptimized`` is on; here a test asks for them.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from qdrant_client import models


@dataclass
class Deferral:
    """The last ``points`` points are hidden while the collection info says ``status``, for ``reads`` reads of it."""

    points: int
    reads: int = 1
    status: str = "yellow"

    def hidden(self, local: Any) -> Set[Any]:
        """Ids of the points that a read of a local collection must not show."""
        standing = [point for point, deleted in zip(local.ids_inv, local.deleted, strict=False) if not deleted]
        return frozenset(standing[max(len(standing) - self.points, 0) :])


class Deferrals:
    """The deferrals of all collections, by name; the one under the empty name is for those without their own."""

    def __init__(self) -> None:
        self._by_name: dict[str, Deferral] = {}

    def add(self, collection: str, deferral: Deferral) -> None:
        """Hide points of a collection from now on, whether or not it exists yet."""
        self._by_name[collection] = deferral

    def clear(self) -> None:
        """Show all points."""
        self._by_name = {}

    def hidden(self, name: str, local: Any) -> Set[Any]:
        """Ids of a collection's hidden points."""
        deferral = self._by_name.get(name) or self._by_name.get("")
        return deferral.hidden(local) if deferral else frozenset()

    def observe(self, name: str) -> str | None:
        """Status at this read of the collection info; the points appear once it has been said often enough."""
        key = name if name in self._by_name else ""
        deferral = self._by_name.get(key)
        if deferral is None:
            return None
        if deferral.reads == 0:
            del self._by_name[key]
            return None
        deferral.reads -= 1
        return deferral.status


def without(ids: Set[Any], condition: models.Filter | None) -> models.Filter | None:
    """A filter that leaves out some points beside what it did before."""
    if not ids:
        return condition
    return models.Filter(must=condition, must_not=[models.HasIdCondition(has_id=sorted(ids, key=str))])
