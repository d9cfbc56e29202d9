"""What a collection holds of a job's rows: asked by point id, in batches, and read back as Arrow columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from more_itertools import chunked
from qdrant_client import QdrantClient, models

from pipelines.rows import HASHES, spread
from pipelines.sinks.base import Held, JobFacts
from pipelines.sinks.qdrant.client import has_indexes
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.guard import Guard
from pipelines.sinks.qdrant.points import OURS, POINT_BYTES, PointId, provenance, row_ids
from pipelines.sinks.qdrant.read_vectors import usual_bytes, vector_column

RETRIEVE_POINTS = 1000
# Of a page in a folder, where each page costs a look at all points.
FOLDER_POINTS = 5000


class Caller(Protocol):
    """Makes a request to the server until it is answered; see ``pipelines.sinks.qdrant.retry.call``."""

    def __call__(self, request: Any, doing: str) -> Any:
        """Make it; ``doing`` is for messages."""


class HeldPoints:
    """Asks one collection what it holds of a job's rows."""

    def __init__(
        self, client: QdrantClient, config: QdrantSinkConfig, job: JobFacts, call: Caller, guard: Guard | None = None
    ) -> None:
        self._client, self._config, self._job, self._call, self._guard = client, config, job, call, guard

    def codes(self, ids: Sequence[PointId], wanted: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.uint8]:
        """Compare what the points' payloads say of them with what is ``wanted``: one of ``Held`` a point, uint8."""
        there: dict[Any, Any] = {}
        for some in chunked(ids, RETRIEVE_POINTS):
            for record in self._retrieve(some, vectors=False):
                there[record.id] = (record.payload or {}).get(OURS)
        pairs = list(zip(ids, wanted, strict=True))
        guard = self._guard
        if guard is None:
            return np.array([held_of(there.get(name), made) for name, made in pairs], np.uint8)
        codes = [guard.code(there[name], made, held_of) if name in there else Held.LACKS for name, made in pairs]
        absent = np.array([name not in there for name in ids], np.bool_)
        # What somebody deleted is to stay as it is, as what somebody wrote.
        return np.where(absent & guard.deleted(ids), Held.SAME, np.array(codes)).astype(np.uint8)

    def codes_of_rows(self, rows: pa.Table) -> npt.NDArray[np.uint8]:
        """As ``codes``, for rows with ``id`` and HASHES."""
        return self.codes(*self._asked(rows))

    def vectors(self, rows: pa.Table) -> pa.Table:
        """Read the points' vectors; see ``SinkWriter.vectors``. Those of cosine distance come as unit vectors."""
        return self._vectors_at(*self._asked(rows))

    def vectors_of_texts(self, rows: pa.Table) -> pa.Table:
        """Read the vectors of points that have rows' texts; see ``SinkWriter.vectors_of_texts``."""
        _, wanted = self._asked(rows)
        points = self._points_by_text(sorted({made["text_hash"] for made in wanted}))
        return self._vectors_at([points.get(made["text_hash"]) for made in wanted], wanted)

    def _points_by_text(self, hashes: Sequence[str]) -> dict[str, PointId]:
        """Find a point for each text hash, where there is one with the job's fingerprint."""
        points: dict[str, PointId] = {}
        for some in chunked(hashes, RETRIEVE_POINTS):
            left, after = set(some), None
            # Each page is of texts that have no point yet: those of which there are many cost one page.
            while left:
                records, after = self._scroll(sorted(left), after)
                for record in records:
                    stored = (record.payload or {}).get(OURS)
                    if isinstance(stored, Mapping) and stored.get("text_hash") in left:
                        points.setdefault(stored["text_hash"], record.id)
                left = set() if after is None else left - points.keys()
        return points

    def _scroll(self, hashes: list[str], after: Any) -> tuple[list[models.Record], Any]:
        """Read a page of points with these text hashes, or where no index has them of any points."""
        in_folder = not has_indexes(self._client, self._config.path)
        texts = models.FieldCondition(key=f"{OURS}.text_hash", match=models.MatchAny(any=hashes))
        made = models.FieldCondition(key=f"{OURS}.fingerprint", match=models.MatchValue(value=self._job.fingerprint))
        page: tuple[list[models.Record], Any] = self._call(
            lambda: self._client.scroll(
                self._config.collection,
                scroll_filter=None if in_folder else models.Filter(must=[texts, made]),
                limit=FOLDER_POINTS if in_folder else RETRIEVE_POINTS,
                offset=after,
                with_payload=[OURS],
                with_vectors=False,
            ),
            f"looking for {len(hashes)} texts",
        )
        return page

    def _vectors_at(self, ids: Sequence[PointId | None], wanted: Sequence[Mapping[str, Any]]) -> pa.Table:
        found: list[dict[str, Any] | None] = []
        for some in chunked(zip(ids, wanted, strict=True), self._points_an_answer()):
            asked = list(dict.fromkeys(name for name, _ in some if name is not None))
            there = {record.id: record for record in self._retrieve(asked, vectors=True)} if asked else {}
            found += [self._named(None if name is None else there.get(name), made) for name, made in some]
        at = np.array([row for row, vectors in enumerate(found) if vectors is not None], np.int64)
        whole = [vectors for vectors in found if vectors is not None]
        return pa.table(
            {
                name: spread(vector_column([vectors[name] for vectors in whole], spec), at, len(wanted))
                for name, spec in self._job.vectors.items()
            }
        )

    def _asked(self, rows: pa.Table) -> tuple[list[PointId], list[dict[str, Any]]]:
        return row_ids(rows), [provenance(row, self._job) for row in rows.select(HASHES).to_pylist()]

    def _named(self, record: models.Record | None, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
        """All vectors of a point by name, where they are the ones wanted. A text without terms has no sparse vector."""
        if record is None or held_of((record.payload or {}).get(OURS), wanted) == Held.LACKS:
            return None
        vectors: Any = record.vector or {}
        empty = models.SparseVector(indices=[], values=[])
        named = {
            name: vectors.get(name, empty if spec.kind == "sparse" else None)
            for name, spec in self._job.vectors.items()
        }
        return None if None in named.values() else named

    def _points_an_answer(self) -> int:
        sizes = [POINT_BYTES, *map(usual_bytes, self._job.vectors.values())]
        most = int(self._config.batch_mb * 1e6) // sum(sizes)
        return max(1, min(most, RETRIEVE_POINTS))

    def _retrieve(self, ids: list[PointId], *, vectors: bool) -> list[models.Record]:
        wanted = list(self._job.vectors) if vectors else False
        found: list[models.Record] = self._call(
            lambda: self._client.retrieve(self._config.collection, ids, with_payload=[OURS], with_vectors=wanted),
            f"asking for {len(ids)} points",
        )
        return found


def held_of(stored: Any, wanted: Mapping[str, Any]) -> Held:
    """Compare what a point's payload says of it, None where there is no such point, with what it would say now.

    Points of older versions have neither hash of their own for text and payload, only the one of both.
    """
    if not isinstance(stored, Mapping) or stored.get("fingerprint") != wanted["fingerprint"]:
        return Held.LACKS
    differing = [name for name in HASHES if name in stored and stored[name] != wanted[name]]
    if "content_hash" in stored and not differing:
        return Held.SAME
    # Nothing is known of a text whose hash is null: see ``pipelines.sources.vectors.rows``.
    known = stored.get("text_hash") is not None
    return Held.VECTORS if known and "text_hash" not in differing else Held.LACKS
