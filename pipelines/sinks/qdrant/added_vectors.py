"""Vectors that are added to the points of a collection in place, beside those that it has: a sink of its own.

A point's new vectors and, where a job of this tool made the point, the fingerprint of the job with all of its vectors
go out in one request, the fingerprint behind the vectors: a point that has it has the vectors of the text it tells of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import SecretStr
from qdrant_client import models

from pipelines.errors import SinkError
from pipelines.rows import HASHES
from pipelines.sinks.base import Held, JobFacts, LeaseStore, WriteResult
from pipelines.sinks.provenance import as_held, provenance_of
from pipelines.sinks.qdrant.batches import Points
from pipelines.sinks.qdrant.client import api_key, open_client
from pipelines.sinks.qdrant.collection import Collection, refuse_custom_sharding
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.description import ADDED, PROVENANCE
from pipelines.sinks.qdrant.lease import CollectionLease
from pipelines.sinks.qdrant.points import OURS, to_point_id
from pipelines.sinks.qdrant.retry import NO_POINT, call
from pipelines.sinks.qdrant.vectors import dense_params, property_differences_of, quantization
from pipelines.sinks.qdrant.writer import QdrantWriter

# What the job writes of a point beside its vectors. Its corpus stays as it is.
MARKS = (*HASHES, "fingerprint")
# Tells of points, by their ids, which of them have the vectors.
HasVectors = Callable[[Sequence[int | str]], list[bool]]


def lacking(vectors: Sequence[str], fingerprint: str | None) -> models.Filter:
    """Select the points without the fingerprint, or where it is None those that lack one of the vectors."""
    if fingerprint is not None:
        there = models.FieldCondition(key=f"{OURS}.fingerprint", match=models.MatchValue(value=fingerprint))
        return models.Filter(must_not=[there])
    return models.Filter(
        should=[models.Filter(must_not=[models.HasVectorCondition(has_vector=name)]) for name in vectors]
    )


class AddedVectorsSink:
    """Adds a job's vectors to the points of a collection on a server.

    ``whole`` are the facts of the job with all vectors that the points have then. ``marks`` tells that a job of this
    tool made the points, which get its fingerprint. ``before`` is the provenance that the collection had.
    """

    connects_at_once = False

    def __init__(self, config: QdrantSinkConfig, whole: JobFacts, before: dict[str, Any], *, marks: bool) -> None:
        self.config, self.workers = config, config.writers
        self.name = f"qdrant:{config.address}/{config.collection}"
        self.job: JobFacts | None = None
        self._whole, self._before, self._marks = whole, before, marks
        self._key: SecretStr | None = None

    def check(self, job: JobFacts) -> dict[str, Any]:
        """Compare vectors that are there already; see Sink."""
        with self._collection() as collection:
            self._refuse_unlike(collection.existing(), job)
            return {"exists": True, "points": collection.count()}

    def provenance(self) -> dict[str, Any] | None:
        """Return nothing: the vectors are new; see Sink."""
        return None

    def lease_store(self) -> LeaseStore:
        """Return the entry of the collection's metadata that says who writes there; see Sink."""
        return CollectionLease(self.name, self.config)

    def open(self, job: JobFacts) -> None:
        """Create the vectors and set them up, before any point has them: what is created twice stays as it is."""
        # Its points are the ones that are read, and no copies.
        self.job = job = replace(job, copied_from=None)
        with self._collection() as collection:
            self._refuse_unlike(collection.existing(), job)
            # First, so that vectors of a run that dies here are known for its own.
            collection.remember({ADDED: {"vectors": sorted(job.vectors), "before": self._before}})
            for name in job.vectors:
                self._create(collection, name, job)

    def connect(self) -> AddedVectorsWriter:
        """Make a worker's connection; ``open`` comes first."""
        if self.job is None:
            raise RuntimeError("open() the sink before connect()")
        self._key = self._key or api_key(self.config)
        client = open_client(self.config, self._key)
        make = partial(_additions, marks=self._marks)
        writer = QdrantWriter(client, self.config, self.job, was_empty=True, additions=make)
        ask = partial(self._has_vectors, Collection(client, self.config))
        return AddedVectorsWriter(writer, None if self._marks else ask)

    def points(self, documents: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Give nothing: nothing is deleted here; see Sink."""
        yield from ()

    def delete(self, points: pa.Table) -> None:
        """Raise: nothing is deleted here."""
        raise NotImplementedError("vectors are added, and no point is deleted")

    def finish(self, *, completed: bool, untouched: bool = False) -> dict[str, Any]:
        """Write down what made all vectors, by which searchers make their queries; counts the points that lack them."""
        figures: dict[str, Any] = {"collection": self.config.collection}
        if self.job is None:
            return figures
        chosen = lacking(sorted(self.job.vectors), self._whole.fingerprint if self._marks else None)
        try:
            with self._collection() as collection:
                if completed:
                    whole = as_held(self._whole, [self._before] if self._before else [])
                    collection.remember({PROVENANCE: provenance_of(whole)})
                return {**figures, "points": collection.count(), "lacking": collection.count(chosen)}
        except SinkError as error:
            if completed:
                raise
            return {**figures, "error": str(error)}

    def abandon(self) -> None:
        """Do nothing: no connection is open."""

    def _has_vectors(self, collection: Collection, ids: Sequence[int | str]) -> list[bool]:
        if self.job is None:
            raise RuntimeError("open() the sink before connect()")
        those = models.HasIdCondition(has_id=list(ids))
        chosen = models.Filter(must=[those, *(models.HasVectorCondition(has_vector=name) for name in self.job.vectors)])
        found, _ = call(
            lambda: collection.client.scroll(collection.name, chosen, limit=max(1, len(ids)), with_payload=False),
            what=f"{collection.title}: asking for {len(ids)} points",
            seconds=self.config.retry_seconds,
        )
        there = {point.id for point in found}
        return [name in there for name in ids]

    def _refuse_unlike(self, info: models.CollectionInfo, job: JobFacts) -> None:
        refuse_custom_sharding(info, self.config.title)
        if found := property_differences_of(info, job):
            raise SinkError(
                f"{self.config.title}: {'; '.join(found)}. Give the embedding another name, or delete the vector there"
            )

    def _create(self, collection: Collection, name: str, job: JobFacts) -> None:
        spec, client, config = job.vectors[name], collection.client, self.config
        made: models.DenseVectorNameConfig | models.SparseVectorNameConfig
        if spec.kind == "sparse":
            sparse = models.SparseVectorConfig(modifier=models.Modifier.IDF if spec.idf else None)
            made = models.SparseVectorNameConfig(sparse=sparse)
            collection.ask(lambda: client.create_vector_name(collection.name, name, made), f"creating {name!r}")
            return
        # Beside the vectors that are there already.
        params = dense_params(name, self._whole, config)
        made = models.DenseVectorNameConfig(
            dense=models.DenseVectorConfig(
                size=params.size,
                distance=params.distance,
                multivector_config=params.multivector_config,
                datatype=params.datatype,
            )
        )
        collection.ask(lambda: client.create_vector_name(collection.name, name, made), f"creating {name!r}")
        settings = {
            "hnsw_config": params.hnsw_config,
            "on_disk": params.on_disk,
            "quantization_config": quantization(config),
        }
        given = {key: value for key, value in settings.items() if value is not None}
        if given:
            diff = {name: models.VectorParamsDiff(**given)}
            collection.ask(
                lambda: client.update_collection(collection.name, vectors_config=diff), f"setting {name!r} up"
            )

    @contextmanager
    def _collection(self) -> Iterator[Collection]:
        self._key = self._key or api_key(self.config)
        with closing(open_client(self.config, self._key)) as client:
            yield Collection(client, self.config, written=self.job is not None)


class AddedVectorsWriter:
    """One worker's connection: adds vectors to points until each is acknowledged; a point that is gone is no error."""

    def __init__(self, writer: QdrantWriter, has_vectors: HasVectors | None) -> None:
        """Take what tells which points have the vectors where no mark in them does."""
        self._writer, self._has_vectors = writer, has_vectors

    def held(self, rows: pa.Table) -> npt.NDArray[np.uint8]:
        """Say which points have the vectors of their texts: another payload changes nothing about that."""
        if self._has_vectors is not None:
            there = self._has_vectors([to_point_id(name) for name in rows["id"].to_pylist()])
            return np.array([Held.SAME if has else Held.LACKS for has in there], np.uint8)
        codes = self._writer.held(rows)
        codes[codes == Held.VECTORS] = Held.SAME
        return codes

    def vectors(self, rows: pa.Table) -> pa.Table:
        """See SinkWriter."""
        return self._writer.vectors(rows)

    def vectors_of_texts(self, rows: pa.Table) -> pa.Table:
        """See SinkWriter."""
        return self._writer.vectors_of_texts(rows)

    def write(self, table: pa.Table) -> WriteResult:
        """Add the vectors of all rows; see SinkWriter."""
        result = self._writer.write(table)
        gone = [row for row, error in result.rejected.items() if NO_POINT in error.message]
        for row in gone:
            del result.rejected[row]
        result.written += len(gone)
        return result

    def update(self, table: pa.Table) -> WriteResult:
        """Raise: payloads stay as they are."""
        raise NotImplementedError("vectors are added, and payloads stay as they are")

    def close(self) -> None:
        """Close the connections to the server."""
        self._writer.close()


def _additions(points: Points, *, marks: bool) -> list[models.UpdateOperation]:
    """Make the operations of one request, unchecked as in ``Points.batch``."""
    columns = points.vectors
    vectors = [
        models.PointVectors.model_construct(id=name, vector={key: column[row] for key, column in columns.items()})
        for row, name in enumerate(points.ids)
    ]
    update = models.UpdateVectors.model_construct(points=vectors)
    operations: list[models.UpdateOperation] = [models.UpdateVectorsOperation.model_construct(update_vectors=update)]
    if marks:
        pairs = zip(points.ids, points.provenances, strict=True)
        operations += [
            models.SetPayloadOperation(
                set_payload=models.SetPayload(payload={key: made[key] for key in MARKS}, points=[name], key=OURS)
            )
            for name, made in pairs
        ]
    return operations
