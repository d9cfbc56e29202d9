"""Writing to the shards of a folder: each operation is acknowledged once it is in the engine's log."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

import qdrant_edge as edge
from qdrant_client import models

from pipelines.sinks.qdrant.edge.errors import engine_errors, is_panic
from pipelines.sinks.qdrant.edge.settings import shapes_of
from pipelines.sinks.qdrant.edge.store import EdgeStore
from pipelines.sinks.qdrant.edge.updates import update_operations

# Points after which the log of what was written is put into the files. A killed process leaves the rest of the log to
# its successor, which is open the sooner the less that is.
FLUSH_POINTS = 20_000
DONE = models.UpdateResult(operation_id=0, status=models.UpdateStatus.COMPLETED)


class Writes:
    """Does operations on the collections of an open folder; several threads may use it.

    Raises ValueError for an operation that is refused, EngineError where the engine failed.
    """

    def __init__(self, store: EdgeStore) -> None:
        self._store = store
        self._unflushed: dict[str, int] = {}
        self._counting = threading.Lock()

    def translated(self, collection: str, given: Sequence[Any]) -> models.UpdateResult:
        """Do operations that are given as qdrant-client has them."""
        shapes = shapes_of(self._store.stored(collection).config)
        with engine_errors("updating points"):
            made = [one for operation in given for one in update_operations(operation, shapes)]
        return self.do(collection, made, points=len(made))

    def do(self, collection: str, operations: Iterable[Any], points: int = 0) -> models.UpdateResult:
        """Do the engine's operations, which are of so many points."""
        shard = self._store.shard(collection)
        self._store.refuse_full_disk()
        self._store.mark(collection, indexed=False)
        with engine_errors("updating points"):
            try:
                for operation in operations:
                    shard.update(operation)
            except BaseException as error:
                if is_panic(error):
                    _pass_over(shard)
                raise
            with self._counting:
                due = self._unflushed.get(collection, 0) + points
                self._unflushed[collection] = 0 if due >= FLUSH_POINTS else due
            if due >= FLUSH_POINTS:
                shard.flush()
        return DONE


def _pass_over(shard: Any) -> None:
    """Put an operation behind the log that was never done: it would be tried each time that the folder is opened.

    The log keeps its last operation, which therefore is another one, of no effect.
    """
    nothing = edge.Filter(must=[edge.HasIdCondition(set())])
    shard.update(edge.UpdateOperation.delete_points_by_filter(nothing))
    shard.flush()
