"""The points: qdrant-client's local engine in memory, with the state it forgets beside it, behind one lock."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from qdrant_client.local.qdrant_local import QdrantLocal

from tests.qdrant_server.deferred import Deferrals
from tests.qdrant_server.errors import no_collection
from tests.qdrant_server.options import Options
from tests.qdrant_server.state import CollectionState


@dataclass
class Engine:
    """All collections of one server. Hold ``lock`` around every use of the others."""

    options: Options
    lock: threading.RLock = field(default_factory=threading.RLock)
    local: QdrantLocal = field(default_factory=lambda: QdrantLocal(":memory:"))
    states: dict[str, CollectionState] = field(default_factory=dict)
    operations: itertools.count[int] = field(default_factory=itertools.count)
    deferrals: Deferrals = field(default_factory=Deferrals)

    def reset(self) -> None:
        """Drop all collections and aliases."""
        with self.lock:
            self.local = QdrantLocal(":memory:")
            self.states = {}


@dataclass(frozen=True)
class Call:
    """One request on its way to the engine: ``name`` as in the path (collection or alias), ``body`` parsed."""

    engine: Engine
    name: str
    body: Any
    query: Mapping[str, str]
    tail: str = ""

    @property
    def local(self) -> QdrantLocal:
        """The engine's points."""
        return self.engine.local

    @property
    def collection(self) -> str:
        """Name of the collection behind ``name``; 404 if there is none."""
        name = self.local.aliases.get(self.name, self.name)
        if name not in self.engine.states:
            raise no_collection(self.name)
        return name

    @property
    def state(self) -> CollectionState:
        """What the local engine forgets about the collection."""
        return self.engine.states[self.collection]

    @property
    def hidden(self) -> Set[Any]:
        """Ids of the collection's points that no read may show."""
        return self.engine.deferrals.hidden(self.collection, self.local.collections[self.collection])

    def done(self) -> dict[str, Any]:
        """Result of a write: completed if the request waited for it."""
        status = "completed" if self.query.get("wait") == "true" else "acknowledged"
        return {"operation_id": next(self.engine.operations), "status": status}
