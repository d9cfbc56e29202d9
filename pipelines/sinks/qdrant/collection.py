"""A Qdrant collection for a job: made, compared with what is there, and put in and out of bulk loading."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pyarrow as pa
from qdrant_client import QdrantClient, models

from embedders.arrow import number_type
from embedders.base import VectorSpec
from pipelines.errors import SinkError
from pipelines.sinks.base import JobFacts
from pipelines.sinks.made_by import describe, differences
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.points import OURS
from pipelines.sinks.qdrant.retry import call

log = logging.getLogger(__name__)

FACTS, DEFERRED = "fleetembed", "fleetembed_deferred_indexing_threshold"
# Whether what a job set out to write is all there, in the collection's metadata.
STATE, FILLING, COMPLETE = "fleetembed_state", "filling", "complete"
DEFAULT_INDEXING_THRESHOLD = 10_000  # kilobytes; the server's own default
ADMIN_SECONDS = 15.0  # a wrong address shall not cost `retry_seconds`
INDEX_WAIT_SECONDS = 600.0
T = TypeVar("T")

_DISTANCES = {
    "cosine": models.Distance.COSINE,
    "dot": models.Distance.DOT,
    "euclid": models.Distance.EUCLID,
    "manhattan": models.Distance.MANHATTAN,
}


class Collection:
    """One collection as the driver sees it. Methods raise SinkError when the server refuses or stays away."""

    def __init__(self, client: QdrantClient, config: QdrantSinkConfig, place: str) -> None:
        self.client = client
        self.config = config
        self.name = config.collection
        self.place = place

    def info(self) -> models.CollectionInfo | None:
        """Read the collection's state, or None where there is none of that name."""
        if not self._ask(lambda: self.client.collection_exists(self.name), "looking for the collection"):
            return None
        return self._read()

    def count(self) -> int:
        """Count the points, exactly."""
        return self._ask(lambda: self.client.count(self.name, exact=True), "counting the points").count

    def is_empty(self) -> bool:
        """Look for a first point."""
        return not self._scroll_one(None, "looking for points")

    def refuse_unless_fit(self, info: models.CollectionInfo, job: JobFacts) -> None:
        """Raise SinkError, naming the differences, where the collection's vectors or points are not this job's."""
        advice = f"choose another collection for this job, or delete {self.place}"
        found = vector_differences(info, job)
        if found:
            raise SinkError(f"{self.place} does not fit: {'; '.join(found)}. Now {advice}")
        stranger = self._point_without(job.fingerprint)
        if stranger is None:
            return
        made = (stranger.payload or {}).get(OURS)
        if not isinstance(made, dict):
            what = f"point {stranger.id} was not made by this tool"
        else:
            facts: dict[str, Any] = (info.config.metadata or {}).get(FACTS) or {}
            same = facts.get("fingerprint") == made.get("fingerprint")
            unlike = differences(facts, job) if same else ["other models, settings or chunking made its vectors"]
            what = f"it holds what another job made: {'; '.join(unlike)}"
        raise SinkError(f"{self.place} cannot be added to: {what}. Now {advice}")

    def held_facts(self, info: models.CollectionInfo) -> dict[str, Any] | None:
        """Read what the job that filled it wrote down, which is empty on a server without metadata.

        None where no job of this tool has points in it.
        """
        found = self._scroll_one(None, "looking for points")
        if not found or not isinstance((found[0].payload or {}).get(OURS), dict):
            return None
        facts: dict[str, Any] = (info.config.metadata or {}).get(FACTS) or {}
        return facts

    def create(self, job: JobFacts) -> None:
        """Create the collection with its vectors and settings."""
        config = self.config
        dense = {name: dense_params(name, job, config) for name, spec in job.vectors.items() if spec.kind != "sparse"}
        sparse = {name: sparse_params(spec) for name, spec in job.vectors.items() if spec.kind == "sparse"}
        self._ask(
            lambda: self.client.create_collection(
                self.name,
                vectors_config=dense,
                sparse_vectors_config=sparse or None,
                shard_number=config.shards,
                replication_factor=config.replication_factor,
                on_disk_payload=config.on_disk_payload,
                quantization_config=quantization(config),
                metadata={FACTS: describe(job)},
            ),
            "creating the collection",
        )

    def settle_for(self, job: JobFacts, known: Mapping[str, Any]) -> None:
        """Write the job's facts, and make the payload indexes not yet ``known``, before the upload.

        An HNSW graph has the links that filtered search needs only if the index was there when it was built.
        """
        self.remember({FACTS: describe(job), STATE: FILLING})
        if self.config.path is not None:
            return  # the embedded engine has no payload indexes
        wanted: dict[str, Any] = {f"{OURS}.fingerprint": "keyword"}
        if job.chunked:
            wanted["document_id"] = "keyword"
        for field, kind in {**wanted, **self.config.payload_indexes}.items():
            if field not in known:
                make = self._index_maker(field, models.PayloadSchemaType(kind))
                self._ask(make, f"making the payload index on {field!r}")

    def defer_indexing(self) -> int | None:
        """Switch indexing off for the load; returns the threshold to restore, None where it was off already.

        The threshold is written into the collection's metadata first, for the case that this process dies.
        """
        threshold = self._read().config.optimizer_config.indexing_threshold
        if threshold == 0:
            return None
        threshold = threshold or DEFAULT_INDEXING_THRESHOLD
        self.remember({DEFERRED: threshold})
        self._set_threshold(0)
        return threshold

    def restore_indexing(self, info: models.CollectionInfo, threshold: int | None = None) -> bool:
        """Switch indexing on again where a load switched it off, this one or one that was killed.

        ``threshold`` is what this process knows to restore. Otherwise the metadata says it; on a server that keeps
        none, a threshold of 0 becomes the server's default. Returns whether there was something to restore.
        """
        metadata = info.config.metadata or {}
        threshold = threshold or metadata.get(DEFERRED)
        if threshold is None and FACTS not in metadata and info.config.optimizer_config.indexing_threshold == 0:
            threshold = DEFAULT_INDEXING_THRESHOLD
        if threshold is None:
            return False
        self._set_threshold(threshold)
        self.remember({DEFERRED: None})
        return True

    def wait_until_indexed(self, limit: float = INDEX_WAIT_SECONDS) -> str:
        """Wait until the collection is green, so long at most; returns its status."""
        deadline, pause = time.monotonic() + limit, 0.1
        while True:
            info = self._read()
            if info.status == models.CollectionStatus.GREEN or time.monotonic() + pause > deadline:
                break
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
        if info.status != models.CollectionStatus.GREEN:
            log.warning("%s: still %s after %g s; the server goes on indexing", self.place, info.status.value, limit)
        return str(info.status.value)

    def remember(self, facts: dict[str, Any]) -> None:
        """Merge facts into the collection's metadata; servers without metadata ignore them."""
        self._ask(lambda: self.client.update_collection(self.name, metadata=facts), "writing the collection's metadata")

    def _read(self) -> models.CollectionInfo:
        return self._ask(lambda: self.client.get_collection(self.name), "reading the collection")

    def _set_threshold(self, kilobytes: int) -> None:
        diff = models.OptimizersConfigDiff(indexing_threshold=kilobytes)
        self._ask(
            lambda: self.client.update_collection(self.name, optimizers_config=diff), "setting the indexing threshold"
        )

    def _index_maker(self, field: str, schema: models.PayloadSchemaType) -> Callable[[], Any]:
        # Not waited for: over many points it takes long, and shards apply updates in order anyway.
        return lambda: self.client.create_payload_index(self.name, field, schema, wait=False)

    def _point_without(self, fingerprint: str) -> models.Record | None:
        ours = models.FieldCondition(key=f"{OURS}.fingerprint", match=models.MatchValue(value=fingerprint))
        found = self._scroll_one(models.Filter(must_not=[ours]), "looking for points of other jobs")
        return found[0] if found else None

    def _scroll_one(self, chosen: models.Filter | None, doing: str) -> list[models.Record]:
        found, _ = self._ask(
            lambda: self.client.scroll(self.name, scroll_filter=chosen, limit=1, with_payload=[OURS]), doing
        )
        return found

    def _ask(self, request: Callable[[], T], doing: str) -> T:
        return call(request, what=f"{self.place}: {doing}", seconds=min(ADMIN_SECONDS, self.config.retry_seconds))


def dense_params(name: str, job: JobFacts, config: QdrantSinkConfig) -> models.VectorParams:
    """Say how a dense vector or multivector is stored.

    A multivector beside a dense vector is there to rescore what that one found: it gets no HNSW graph (m=0).
    """
    spec = job.vectors[name]
    multi = spec.kind == "multivector"
    rescores = multi and any(other.kind == "dense" for other in job.vectors.values())
    return models.VectorParams(
        size=spec.dim or 0,
        distance=_DISTANCES[spec.distance],
        on_disk=config.on_disk,
        datatype=models.Datatype.FLOAT16 if number_type(spec.arrow_type) == pa.float16() else None,
        multivector_config=(
            models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM) if multi else None
        ),
        hnsw_config=models.HnswConfigDiff(m=0) if rescores else None,
    )


def sparse_params(spec: VectorSpec) -> models.SparseVectorParams:
    """Say how a sparse vector is stored."""
    return models.SparseVectorParams(modifier=models.Modifier.IDF if spec.idf else None)


def quantization(config: QdrantSinkConfig) -> Any:
    """Build the quantization settings; the quantized vectors are kept in memory, as their use is speed."""
    if config.quantization == "scalar":
        scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
        return models.ScalarQuantization(scalar=scalar)
    if config.quantization == "binary":
        return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    if config.quantization == "product":
        product = models.ProductQuantizationConfig(compression=models.CompressionRatio.X16, always_ram=True)
        return models.ProductQuantization(product=product)
    return None


def vector_differences(info: models.CollectionInfo, job: JobFacts) -> list[str]:
    """Name how a collection's vectors differ from those the job makes; empty where they agree."""
    params = info.config.params
    dense = params.vectors if isinstance(params.vectors, dict) else {"": params.vectors} if params.vectors else {}
    there = {name: _dense_facts(vector) for name, vector in dense.items()}
    there |= {name: _sparse_facts(vector) for name, vector in (params.sparse_vectors or {}).items()}
    wanted = {name: _spec_facts(spec) for name, spec in job.vectors.items()}
    found = [f"it lacks the vector {name!r}, which this job makes" for name in wanted if name not in there]
    for name in there:
        if name not in wanted:
            shown = f"the vector {name!r}" if name else "an unnamed vector"
            found.append(f"it has {shown}, which this job does not make")
    for name in wanted.keys() & there.keys():
        for fact in wanted[name]:
            if there[name].get(fact) != wanted[name][fact]:
                found.append(f"vector {name!r} has {fact} {there[name].get(fact)}, this job's has {wanted[name][fact]}")
    return found


def _dense_facts(params: models.VectorParams) -> dict[str, Any]:
    kind = "multivector" if params.multivector_config else "dense"
    return {"kind": kind, "dim": params.size, "distance": params.distance.value.lower()}


def _sparse_facts(params: models.SparseVectorParams) -> dict[str, Any]:
    modifier = None if params.modifier in (None, models.Modifier.NONE) else params.modifier.value
    return {"kind": "sparse", "modifier": modifier}


def _spec_facts(spec: VectorSpec) -> dict[str, Any]:
    if spec.kind == "sparse":
        return {"kind": "sparse", "modifier": "idf" if spec.idf else None}
    return {"kind": spec.kind, "dim": spec.dim, "distance": spec.distance}
