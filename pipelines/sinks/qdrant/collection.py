"""A Qdrant collection for a job: made, compared with what is there, and put in and out of bulk loading."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from qdrant_client import QdrantClient, models

from embedders.retrying import Patience, retry
from pipelines.errors import SinkError
from pipelines.sinks.base import JobFacts
from pipelines.sinks.provenance import differences, provenance_of
from pipelines.sinks.qdrant.client import has_indexes
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.description import (
    DEFERRED,
    FILLING,
    PROVENANCE,
    added_vectors,
    held_provenance,
    state_entries,
)
from pipelines.sinks.qdrant.plain import PlainFacts
from pipelines.sinks.qdrant.points import FROM, OURS
from pipelines.sinks.qdrant.retry import call, look_at
from pipelines.sinks.qdrant.vectors import dense_params, quantization, sparse_params, vector_differences

log = logging.getLogger(__name__)

DEFAULT_INDEXING_THRESHOLD = 10_000  # kilobytes; the server's own default
ADMIN_SECONDS = 15.0  # a wrong address shall not cost `retry_seconds`
INDEX_WAIT_SECONDS = 600.0
ANOTHER = "Choose another collection for this job (sink.collection)"
T = TypeVar("T")


class _NotGreenError(Exception):
    """The server is still indexing; the message is the collection's status."""


def refuse_custom_sharding(info: models.CollectionInfo, title: str) -> None:
    """Raise SinkError for a collection that takes no point, nor a change of one, without a shard key."""
    if info.config.params.sharding_method == models.ShardingMethod.CUSTOM:
        raise SinkError(
            f"{title} has custom sharding: it takes points with a shard key alone, which no job gives them. Choose "
            "another collection for this job"
        )


def _advice(info: models.CollectionInfo, job: JobFacts) -> str:
    """Say what to do about a collection that does not fit; what no job of this tool filled is to be left alone."""
    added = [name for name in added_vectors(info) if name not in job.vectors]
    if added:
        names, verb, them = " and ".join(map(repr, added)), *(("was", "it") if len(added) == 1 else ("were", "them"))
        return (
            f"{names} {verb} added in place to what this collection was filled with: list what makes {them} in this "
            f"job's embeddings, too, or take {them} away again with `fleetembed reindex rollback` and the "
            f"configuration that added {them}. {ANOTHER} if it is to stay as it is"
        )
    if not held_provenance(info):
        return ANOTHER
    return f"{ANOTHER}; this one was filled by fleetembed, and may be deleted if nobody needs it"


class Collection:
    """One collection as the driver sees it. Methods raise SinkError when the server refuses or stays away.

    ``written`` tells that a job may have written points already, and goes on with them after a failure.
    """

    def __init__(self, client: QdrantClient, config: QdrantSinkConfig, *, written: bool = False) -> None:
        self.client = client
        self.written = written
        self.config = config
        self.name = config.collection
        self.title = config.title

    def info(self) -> models.CollectionInfo | None:
        """Read the collection's state, or None where there is none of that name."""
        if not self.ask(lambda: self.client.collection_exists(self.name), "looking for the collection"):
            return None
        return self._read()

    def existing(self) -> models.CollectionInfo:
        """Read the state of a collection that must be there; raises SinkError where it is not."""
        info = self.info()
        if info is None:
            raise SinkError(f"{self.title} is not there")
        return info

    def count(self, chosen: models.Filter | None = None) -> int:
        """Count the points, or those that a filter selects, exactly."""
        return self.ask(lambda: self.client.count(self.name, chosen, exact=True), "counting the points").count

    def is_empty(self) -> bool:
        """Look for a first point."""
        return not self._scroll_one(None, "looking for points")

    def refuse_unless_fit(self, info: models.CollectionInfo, job: JobFacts, *, shared: bool = False) -> None:
        """Raise SinkError, naming the differences, where the collection's vectors or points are not this job's.

        With ``shared``, points that no job of this tool wrote may be there.
        """
        refuse_custom_sharding(info, self.title)
        found = vector_differences(info, job)
        if isinstance(job, PlainFacts):
            self._refuse_unless_plain(info, job, found)
            return
        if found:
            raise SinkError(f"{self.title} does not fit: {'; '.join(found)}. {_advice(info, job)}")
        stranger = self._point_without(job.fingerprint, shared=shared)
        if stranger is None:
            return
        made = (stranger.payload or {}).get(OURS)
        if not isinstance(made, dict):
            what = f"point {stranger.id} was not made by this tool"
            raise SinkError(f"{self.title} cannot be added to: {what}. {ANOTHER}")
        held = held_provenance(info)
        same = held.get("fingerprint") == made.get("fingerprint")
        unlike = differences(held, job) if same else ["other models, settings or chunking made its vectors"]
        what = f"it holds what another job made: {'; '.join(unlike)}"
        raise SinkError(f"{self.title} cannot be added to: {what}. {_advice(info, job)}")

    def provenance(self, info: models.CollectionInfo) -> dict[str, Any] | None:
        """Read what made its vectors, which is empty on a server without metadata.

        None where no job of this tool has points in it.
        """
        found = self._scroll_one(None, "looking for points")
        if not found or not isinstance((found[0].payload or {}).get(OURS), dict):
            return None
        return held_provenance(info)

    def create(self, job: JobFacts) -> None:
        """Create the collection with its vectors and settings."""
        config = self.config
        dense = {name: dense_params(name, job, config) for name, spec in job.vectors.items() if spec.kind != "sparse"}
        sparse = {name: sparse_params(spec) for name, spec in job.vectors.items() if spec.kind == "sparse"}
        # One without a name is given by itself.
        unnamed = dense.get("")
        self.ask(
            lambda: self.client.create_collection(
                self.name,
                vectors_config=dense if unnamed is None else unnamed,
                sparse_vectors_config=sparse or None,
                shard_number=config.shards,
                replication_factor=config.replication_factor,
                on_disk_payload=config.on_disk_payload,
                quantization_config=quantization(config),
                metadata=job.metadata if isinstance(job, PlainFacts) else {PROVENANCE: provenance_of(job)},
            ),
            "creating the collection",
        )

    def make(self, job: JobFacts) -> bool:
        """Create the collection, unless another process does so at this moment; returns whether this one did."""
        try:
            self.create(job)
        except SinkError:
            if self.info() is None:
                raise
            return False
        return True

    def settle_for(self, job: JobFacts, known: Mapping[str, Any], *, shared: bool = False) -> None:
        """Write down what makes the vectors, and make the payload indexes not yet ``known``, before the upload.

        With ``shared``, points are told apart by where they come from.
        An HNSW graph has the links that filtered search needs only if the index was there when it was built.
        """
        is_plain = isinstance(job, PlainFacts)
        if not is_plain:
            self.remember({PROVENANCE: provenance_of(job), **state_entries(FILLING)})
        if not has_indexes(self.client, self.config.path):
            return
        wanted: dict[str, Any] = {} if is_plain else {f"{OURS}.fingerprint": "keyword"}
        if job.chunked:
            wanted["document_id"] = "keyword"
        if shared:
            wanted[f"{OURS}.{FROM}"] = "keyword"
        if self.config.deletions == "sweep":
            wanted[f"{OURS}.corpus"] = "keyword"
        if self.config.reuse_moved:
            wanted[f"{OURS}.text_hash"] = "keyword"
        for field, kind in {**wanted, **self.config.payload_indexes}.items():
            if field not in known:
                make = self._index_maker(field, models.PayloadSchemaType(kind))
                self.ask(make, f"making the payload index on {field!r}")

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

    def restore_indexing(
        self, info: models.CollectionInfo, threshold: int | None = None, *, is_plain: bool = False
    ) -> bool:
        """Switch indexing on again where a load switched it off, this one or one that was killed.

        ``threshold`` is what this process knows to restore. Otherwise the metadata says it; on a server that keeps
        none, a threshold of 0 becomes the server's default, unless points of no job (``is_plain``) are written: it may
        be what others chose. Returns whether there was something to restore.
        """
        metadata = info.config.metadata or {}
        threshold = threshold or metadata.get(DEFERRED)
        if (
            not is_plain
            and threshold is None
            and PROVENANCE not in metadata
            and info.config.optimizer_config.indexing_threshold == 0
        ):
            threshold = DEFAULT_INDEXING_THRESHOLD
        if threshold is None:
            return False
        self._set_threshold(threshold)
        self.remember({DEFERRED: None})
        return True

    def wait_until_indexed(self, limit: float = INDEX_WAIT_SECONDS) -> str:
        """Wait until the collection is green, so many seconds at most; returns its status."""
        patience = Patience(limit, first_pause=0.1, longest_pause=5)
        try:
            return retry(self._green, patience, passing=lambda error: isinstance(error, _NotGreenError))
        except _NotGreenError as still:
            log.warning("%s: still %s after %g s; the server goes on indexing", self.title, still, limit)
            return str(still)

    def remember(self, entries: dict[str, Any]) -> None:
        """Merge entries into the collection's metadata; servers without metadata ignore them."""
        self.ask(
            lambda: self.client.update_collection(self.name, metadata=entries), "writing the collection's metadata"
        )

    def ask(self, request: Callable[[], T], doing: str) -> T:
        """Make a request of its client; ``doing`` says what it is for. Raises SinkError."""
        what, seconds = f"{self.title}: {doing}", min(ADMIN_SECONDS, self.config.retry_seconds)
        if self.written:
            return call(request, what=what, seconds=seconds)
        return look_at("sink.url", request, what=what, seconds=seconds)

    def _refuse_unless_plain(self, info: models.CollectionInfo, job: PlainFacts, found: list[str]) -> None:
        """Raise SinkError where a collection has other vectors than the points of no job, or is a job's."""
        if found:
            raise SinkError(
                f"{self.title} does not fit: {'; '.join(found)}. Say which columns are vectors, and how (vectors=...), "
                "or choose another collection"
            )
        held, told = held_provenance(info), job.metadata.get(PROVENANCE, {})
        if not held or held == told:
            return
        if "fingerprint" in held:
            raise SinkError(
                f"{self.title} was filled by a fleetembed job, which would not go on beside points that do not tell "
                "what made their vectors. Choose another collection, or delete this one if nobody needs it"
            )
        # Beside these there are places of files, which differ from machine to machine.
        if any(held.get(key) != told.get(key) for key in ("fingerprints", "vectors")):
            made = ", ".join(sorted(set(map(str, (held.get("models") or {}).values())))) or "other models"
            raise SinkError(
                f"{self.title} holds vectors of {made}, and the dataset "
                + ("tells of other models or settings" if told else "does not tell, in its schema, what made its own")
                + ". Choose another collection"
                + ("" if told else ", or keep the schema's metadata: take Arrow batches (batch_format='pyarrow')")
            )

    def _green(self) -> str:
        status = self._read().status
        if status != models.CollectionStatus.GREEN:
            raise _NotGreenError(status.value)
        return str(status.value)

    def _read(self) -> models.CollectionInfo:
        return self.ask(lambda: self.client.get_collection(self.name), "reading the collection")

    def _set_threshold(self, kilobytes: int) -> None:
        diff = models.OptimizersConfigDiff(indexing_threshold=kilobytes)
        self.ask(
            lambda: self.client.update_collection(self.name, optimizers_config=diff), "setting the indexing threshold"
        )

    def _index_maker(self, field: str, schema: models.PayloadSchemaType) -> Callable[[], Any]:
        # Not waited for: over many points it takes long, and shards apply updates in order anyway.
        return lambda: self.client.create_payload_index(self.name, field, schema, wait=False)

    def _point_without(self, fingerprint: str, *, shared: bool) -> models.Record | None:
        key = f"{OURS}.fingerprint"
        fitting: list[models.Condition] = [
            models.FieldCondition(key=key, match=models.MatchValue(value=fingerprint)),
            *([models.IsEmptyCondition(is_empty=models.PayloadField(key=key))] if shared else []),
        ]
        found = self._scroll_one(models.Filter(must_not=fitting), "looking for points of other jobs")
        return found[0] if found else None

    def _scroll_one(self, chosen: models.Filter | None, doing: str) -> list[models.Record]:
        found, _ = self.ask(
            lambda: self.client.scroll(self.name, scroll_filter=chosen, limit=1, with_payload=[OURS]), doing
        )
        return found
