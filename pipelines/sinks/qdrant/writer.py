"""One worker's connection to a Qdrant collection: upserts until each point is acknowledged as applied."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from qdrant_client import QdrantClient, models

from pipelines.rows import RowError
from pipelines.sinks.base import VECTORS_GONE, Held, JobFacts, WriteResult
from pipelines.sinks.qdrant.ahead import one_ahead
from pipelines.sinks.qdrant.batches import IN_MODELS, Points, batches
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.guard import Guard, marked
from pipelines.sinks.qdrant.held import HeldPoints
from pipelines.sinks.qdrant.plain import PlainFacts, are_held
from pipelines.sinks.qdrant.points import OURS
from pipelines.sinks.qdrant.retry import NotAppliedError, OutOfPatienceError, RequestRefusedError, call
from pipelines.sinks.qdrant.upserts import Upserts

# Operations in a request that replaces payloads.
UPDATE_POINTS = 256
# So many points in a row must fail before a server counts as one that takes none.
DOUBTFUL_POINTS = 5
# How long a point is sent again that fails while others are taken.
DOUBTFUL_SECONDS = 5.0
T = TypeVar("T")


class QdrantWriter:
    """One worker's connection: asks what is held, and writes until each point is acknowledged as applied.

    ``borrowed`` tells that another closes the client. ``additions`` makes what is sent in the place of whole points.
    """

    def __init__(
        self,
        client: QdrantClient,
        config: QdrantSinkConfig,
        job: JobFacts,
        *,
        was_empty: bool,
        borrowed: bool = False,
        guard: Guard | None = None,
        additions: Callable[[Points], list[models.UpdateOperation]] | None = None,
    ) -> None:
        self._client = client
        self._upserts = Upserts(client, config)
        self._additions = additions
        self._borrowed = borrowed
        self._config = config
        self._job = job
        self._was_empty = was_empty
        self._retries = 0
        # A point that the server took, which tells whether it still takes any.
        self._taken: Points | None = None
        self._there = HeldPoints(client, config, job, self._call, guard)
        self._guard = guard

    def held(self, rows: pa.Table) -> npt.NDArray[np.uint8]:
        """Compare rows with the hashes and the fingerprint in the points' payloads; see SinkWriter."""
        return self._there.codes_of_rows(rows)

    def vectors(self, rows: pa.Table) -> pa.Table:
        """Read the vectors of rows' points; those of cosine distance come as unit vectors. See SinkWriter."""
        return self._there.vectors(rows)

    def vectors_of_texts(self, rows: pa.Table) -> pa.Table:
        """Read the vectors of points with rows' texts, of a collection that had points; see SinkWriter."""
        if self._was_empty:
            specs = self._job.vectors.items()
            return pa.table({name: pa.nulls(rows.num_rows, spec.arrow_type) for name, spec in specs})
        return self._there.vectors_of_texts(rows)

    def write(self, table: pa.Table) -> WriteResult:
        """Upsert all rows; a row that the server refuses alone is rejected with the server's reason."""
        return self._write(table, self._config.batch_points, vectors=True)

    def update(self, table: pa.Table) -> WriteResult:
        """Replace the payloads of all rows' points, and leave their vectors; see SinkWriter."""
        return self._write(table, UPDATE_POINTS, vectors=False)

    def close(self) -> None:
        """Close the connections to the server."""
        self._upserts.close()
        if not self._borrowed:
            self._client.close()

    def _write(self, table: pa.Table, most: int, *, vectors: bool) -> WriteResult:
        result, before = WriteResult(), self._retries
        if self._job.chunked and not self._was_empty:
            # Before the points: once the last chunk is held, no later run would come back to this document.
            self._delete_past_the_end(table)
        config = self._config
        limits: dict[str, Any] = {"points": most, "megabytes": config.batch_mb}
        numbers = self._upserts.numbers if self._additions is None else IN_MODELS
        made = batches(table, self._job, **limits, store_text=config.store_text, vectors=vectors, numbers=numbers)
        # An embedded engine has no time to wait for it in which the next request could be made.
        with closing(made if config.path is not None else one_ahead(made, self._prepare)) as requests:
            for points in requests:
                # A guarded request passes over points that are gone.
                if vectors or self._guard is not None:
                    self._send(points, result)
                else:
                    self._send_to_those_there(points, result)
        if self._taken is not None:
            self._taken = self._taken.first_copied()
        result.retries = self._retries - before
        return result

    def _prepare(self, points: Points) -> None:
        """Make what the points' request takes time to be made of."""
        if points.specs is None:
            _ = points.payloads
        elif self._additions is not None:
            _ = points.vectors
        else:
            self._upserts.prepare(points)

    def _send_to_those_there(self, points: Points, result: WriteResult) -> None:
        """Send points whose vectors are there, and reject the others: one that is gone would fail a whole request."""
        gone = np.flatnonzero(self._there.codes(points.ids, points.provenances) == Held.LACKS)
        result.rejected |= {points.first + int(row): VECTORS_GONE for row in gone}
        for before, after in pairwise([-1, *map(int, gone), len(points)]):
            if before + 1 < after:
                self._send(points.part(before + 1, after), result)

    def _send(self, points: Points, result: WriteResult) -> None:
        """Write points, or where the server refuses them their halves, down to the point it refuses alone."""
        doing = "upserting" if points.specs is not None else "replacing the payloads of"
        try:
            self._call(lambda: self._apply(points), f"{doing} {len(points)} points", points=len(points))
            self._take(points, result)
        except OutOfPatienceError as error:
            self._send_one_by_one(points, result, error)
        except RequestRefusedError as error:
            if len(points) == 1:
                result.rejected[points.first] = RowError("sink", "Refused", str(error))
                return
            half = len(points) // 2
            self._send(points.part(0, half), result)
            self._send(points.part(half, len(points)), result)

    def _take(self, points: Points, result: WriteResult) -> None:
        result.written += len(points)
        self._taken = points.part(0, 1)

    def _send_one_by_one(self, points: Points, result: WriteResult, failure: OutOfPatienceError) -> None:
        """Find the points that the server fails at for as long as they are sent, while it takes others.

        Such a point is rejected. Where the server takes none, also not one that it took before, the failure is raised.
        """
        doubtful = []
        takes = self._fails_at(self._taken) is None
        for number in range(len(points)):
            point = points.part(number, number + 1)
            if self._fails_at(point) is None:
                takes = True
                self._take(point, result)
            else:
                doubtful.append(point)
            if not takes and len(doubtful) >= DOUBTFUL_POINTS:
                raise failure
        for point in doubtful:
            why = self._fails_at(point, DOUBTFUL_SECONDS)
            if why is None:
                self._take(point, result)
                continue
            result.rejected[point.first] = RowError("sink", "Refused", why)
            # It may have gone away meanwhile, and then nothing is known of the point.
            if self._fails_at(self._taken) is not None:
                raise failure

    def _fails_at(self, point: Points | None, seconds: float = 0) -> str | None:
        """Write one point; says why the server does not take it, None where it does."""
        if point is None:
            return "no point was taken before"
        try:
            self._call(lambda: self._apply(point), "upserting a point", points=1, seconds=seconds)
        except (OutOfPatienceError, RequestRefusedError) as error:
            return str(error)
        return None

    def _apply(self, points: Points) -> None:
        client, name, guard = self._client, self._config.collection, self._guard
        only = marked() if guard is not None else None
        if points.specs is None:
            answers = client.batch_update_points(name, points.overwrites(only), wait=True)
        elif self._additions is not None:
            answers = client.batch_update_points(name, self._additions(points), wait=True)
        elif guard is None:
            answers = [self._upserts.send(points)]
        else:
            answers = [self._upserts.send(part, only, mode) for part, mode in guard.parts(points)]
        undone = [answer.status.value for answer in answers if answer.status != models.UpdateStatus.COMPLETED]
        if undone and not self._is_held(points):
            raise NotAppliedError(f"the server answered {undone[0]!r}, not 'completed'")

    def _is_held(self, points: Points) -> bool:
        if isinstance(self._job, PlainFacts):
            return are_held(self._client, self._config.collection, points.ids, points.vectors, points.payloads)
        return bool((self._there.codes(points.ids, points.provenances) == Held.SAME).all())

    def _delete_past_the_end(self, table: pa.Table) -> None:
        """Delete what is behind the last chunk of documents that end in this table and had more chunks before."""
        ending = table.filter(pc.equal(pc.add(table["chunk_no"], 1), table["chunk_count"]))
        documents: dict[int, list[str]] = defaultdict(list)
        for name, count in zip(ending["document_id"].to_pylist(), ending["chunk_count"].to_pylist(), strict=True):
            documents[count].append(name)
        if not documents:
            return
        corpus = models.FieldCondition(key=f"{OURS}.corpus", match=models.MatchValue(value=self._job.corpus))
        past = models.Filter(must=[corpus], should=[_past(count, names) for count, names in documents.items()])
        self._call(
            lambda: self._client.delete(self._config.collection, models.FilterSelector(filter=past), wait=True),
            "deleting chunks that documents no longer have",
        )

    def _call(self, request: Callable[[], T], doing: str, *, points: int = 0, seconds: float | None = None) -> T:
        patience = self._config.retry_seconds
        return call(
            request,
            what=f"{self._config.title}: {doing}",
            seconds=patience if seconds is None else min(seconds, patience),
            points=points,
            on_retry=self._count_retry,
        )

    def _count_retry(self) -> None:
        self._retries += 1


def _past(chunk_count: int, documents: list[str]) -> models.Filter:
    """Select the chunks of these documents from ``chunk_count`` on."""
    return models.Filter(
        must=[
            models.FieldCondition(key="document_id", match=models.MatchAny(any=documents)),
            models.FieldCondition(key="chunk_no", range=models.Range(gte=chunk_count)),
        ]
    )
