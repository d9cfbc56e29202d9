"""What the local engine forgets about a collection: its configuration, payload indexes, status and snapshots."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from qdrant_client import models

from tests.qdrant_server.errors import wrong_input
from tests.qdrant_server.limits import WriteLimits
from tests.qdrant_server.scrolling import IdOrder

# Defaults of a Qdrant 1.19 server as collection info shows them.
HNSW = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000, "max_indexing_threads": 0, "on_disk": False}
OPTIMIZERS = {
    "deleted_threshold": 0.2,
    "vacuum_min_vector_number": 1000,
    "default_segment_number": 0,
    "max_segment_size": None,
    "memmap_threshold": None,
    "indexing_threshold": 10_000,
    "flush_interval_sec": 5,
    "max_optimization_threads": None,
}
WAL = {"wal_capacity_mb": 32, "wal_segments_ahead": 0}
PARAMS = {"shard_number": 1, "replication_factor": 1, "write_consistency_factor": 1, "on_disk_payload": True}
PARAM_KEYS = (*PARAMS, "vectors", "sparse_vectors", "sharding_method", "payload", "id_tracker")


@dataclass
class CollectionState:
    """Configuration (JSON of ``CollectionConfig``), payload schema and index progress of one collection."""

    config: dict[str, Any]
    payload_schema: dict[str, dict[str, Any]] = field(default_factory=dict)
    limits: WriteLimits = field(default_factory=WriteLimits)
    indexed_points: int = 0
    reads_until_indexed: int | None = None
    order: IdOrder = field(default_factory=IdOrder)
    snapshots: list[dict[str, Any]] = field(default_factory=list)
    shard_keys: list[Any] = field(default_factory=list)
    shard_of: dict[Any, Any] = field(default_factory=dict)

    @property
    def is_custom(self) -> bool:
        """Whether its points are sharded by keys that come with them."""
        return self.config["params"].get("sharding_method") == "custom"

    def dim(self, name: str) -> int | None:
        """Dimension of a dense or multivector; None if the collection has none of this name."""
        vectors = self.config["params"].get("vectors") or {}
        params = vectors if _is_unnamed(vectors) and name == "" else vectors.get(name)
        return params["size"] if isinstance(params, dict) else None

    def has_sparse(self, name: str) -> bool:
        """Whether the collection has a sparse vector of this name."""
        return name in (self.config["params"].get("sparse_vectors") or {})

    def observe(self, points: int, indexing_reads: int) -> tuple[str, int]:
        """Status and number of indexed vectors at this read of the collection info.

        A collection whose vectors outgrew ``indexing_threshold`` (kB, 0: never) and are not indexed says yellow
        ``indexing_reads`` times, after which the index counts as built.
        """
        if not self._index_is_due(points):
            return "green", self.indexed_points * self._dense_count()
        if self.reads_until_indexed is None:
            self.reads_until_indexed = indexing_reads
        if self.reads_until_indexed:
            self.reads_until_indexed -= 1
            return "yellow", self.indexed_points * self._dense_count()
        self.indexed_points, self.reads_until_indexed = points, None
        return "green", points * self._dense_count()

    def _index_is_due(self, points: int) -> bool:
        threshold = self.config["optimizer_config"]["indexing_threshold"]
        if not threshold or not self.config["hnsw_config"]["m"]:
            return False
        kilobytes = points * sum(params["size"] for params in self._dense()) * 4 / 1024
        return kilobytes > threshold and self.indexed_points != points

    def _dense(self) -> list[dict[str, Any]]:
        vectors = self.config["params"].get("vectors") or {}
        return [vectors] if _is_unnamed(vectors) else list(vectors.values())

    def _dense_count(self) -> int:
        return len(self._dense())


def created(request: models.CreateCollection, strict_mode: dict[str, Any]) -> CollectionState:
    """State of a new collection: the server's defaults under what the request sets."""
    asked = request.model_dump(mode="json", exclude_none=True)
    strict = {**strict_mode, **asked.get("strict_mode_config", {})}
    return CollectionState(
        {
            "params": PARAMS | {key: asked[key] for key in PARAM_KEYS if key in asked},
            "hnsw_config": HNSW | asked.get("hnsw_config", {}),
            "optimizer_config": OPTIMIZERS | _optimizers(asked.get("optimizers_config", {})),
            "wal_config": WAL | asked.get("wal_config", {}),
            "quantization_config": asked.get("quantization_config"),
            "strict_mode_config": strict or None,
            "metadata": asked.get("metadata"),
        }
    )


def update(state: CollectionState, request: models.UpdateCollection) -> None:
    """Merge a PATCH into the configuration; 400 for a vector the collection does not have."""
    asked = request.model_dump(mode="json", exclude_none=True)
    config = state.config
    _update_vectors(config["params"], asked)
    config["params"] |= asked.get("params", {})
    config["hnsw_config"] |= asked.get("hnsw_config", {})
    config["optimizer_config"] |= _optimizers(asked.get("optimizers_config", {}))
    if "quantization_config" in asked:
        config["quantization_config"] = _quantization(asked["quantization_config"])
    for key in ("strict_mode_config", "metadata"):
        if key in asked:
            config[key] = (config[key] or {}) | asked[key]


def _update_vectors(params: dict[str, Any], asked: dict[str, Any]) -> None:
    vectors = params.get("vectors") or {}
    targets = {"": vectors} if _is_unnamed(vectors) else vectors
    sparse = params.get("sparse_vectors") or {}
    dense_diffs, sparse_diffs = asked.get("vectors", {}), asked.get("sparse_vectors", {})
    for name in [*(dense_diffs.keys() - targets.keys()), *(sparse_diffs.keys() - sparse.keys())]:
        raise wrong_input(f"Not existing vector name error: {name}")
    for name, diff in dense_diffs.items():
        if "hnsw_config" in diff:
            diff["hnsw_config"] = targets[name].get("hnsw_config", {}) | diff["hnsw_config"]
        if "quantization_config" in diff:
            diff["quantization_config"] = _quantization(diff["quantization_config"])
        targets[name].update(diff)
    for name, diff in sparse_diffs.items():
        sparse[name].update(diff)


def _is_unnamed(vectors: dict[str, Any]) -> bool:
    return isinstance(vectors.get("size"), int)


def _optimizers(diff: dict[str, Any]) -> dict[str, Any]:
    # collection info shows automatic threads as no value
    return {key: None if value == "auto" else value for key, value in diff.items()}


def _quantization(diff: Any) -> Any:
    return None if diff == "Disabled" else diff
