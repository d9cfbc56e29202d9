"""What a collection says of itself: its vectors, and in its metadata what the job that filled it wrote down."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from pydantic import ValidationError
from qdrant_client import models

from embedders.base import VectorSpec
from pipelines.config.embeddings import EmbeddingConfig
from pipelines.sinks.qdrant.vectors import rescoring_vectors, stored_vectors

# Keys of the metadata: what made the vectors (see `pipelines.sinks.provenance`), and the indexing threshold to restore.
PROVENANCE, DEFERRED = "fleetembed", "fleetembed_deferred_indexing_threshold"
# Whether what a job set out to write is all there.
STATE, FILLING, COMPLETE = "fleetembed_state", "filling", "complete"
# Who writes to the collection just now (see `pipelines.sinks.lease.lease`), as JSON in a text.
LEASE = "fleetembed_lease"
# What an alias named before a switch let it name this collection (see `pipelines.reindex.aliases`), as JSON in a text.
BEFORE = "fleetembed_alias_before"
# The collection that an alias was moved from, while what was written to it at the last is still to be copied.
CATCHING_UP = "fleetembed_catching_up"
# The vectors that were added in place, and the provenance before (see `pipelines.reindex.add_vector`), as an object.
ADDED = "fleetembed_added"
# When the state was written down, when an alias last left the collection, and what a verification found since the last
# run, as JSON in a text. Times are ISO 8601, UTC.
STATE_AT, LEFT_AT, VERIFIED = "fleetembed_state_at", "fleetembed_alias_left_at", "fleetembed_verified"


@dataclass(frozen=True)
class CollectionDescription:
    """A collection's vectors by name, and what its job wrote down.

    ``rescoring`` names the multivectors without an index, which are there to order candidates. ``embeddings`` and
    ``fingerprints`` are empty where no job of this tool filled the collection; ``complete`` is None there.
    ``unreadable`` tells of embeddings whose settings this version cannot read, and why.
    """

    vectors: dict[str, VectorSpec]
    rescoring: frozenset[str]
    embeddings: dict[str, EmbeddingConfig] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    complete: bool | None = None
    unreadable: dict[str, str] = field(default_factory=dict)


def describe_collection(info: models.CollectionInfo) -> CollectionDescription:
    """Read what a collection says of itself."""
    provenance, vectors = held_provenance(info), stored_vectors(info)
    embeddings: dict[str, EmbeddingConfig] = {}
    unreadable = {}
    for name, settings in _object(provenance.get("embeddings")).items():
        try:
            embedding = EmbeddingConfig.model_validate(settings)
        except ValidationError as error:
            wrong = error.errors()[0]
            unreadable[name] = f"{'.'.join(str(part) for part in wrong['loc'])}: {wrong['msg']}".removeprefix(": ")
            continue
        # A copy may have some of the vectors.
        embeddings |= {name: embedding for name in embedding.vector_names if name in vectors}
    prints = {name: str(value) for name, value in _object(provenance.get("fingerprints")).items()}
    return CollectionDescription(vectors, rescoring_vectors(info), embeddings, prints, is_complete(info), unreadable)


def held_provenance(info: models.CollectionInfo) -> dict[str, Any]:
    """Read what made the collection's vectors; empty where nothing says it, as on a server without metadata."""
    return _object((info.config.metadata or {}).get(PROVENANCE))


def added_vectors(info: models.CollectionInfo) -> list[str]:
    """Name the vectors that were added in place to those that the collection was filled with."""
    names = _object((info.config.metadata or {}).get(ADDED)).get("vectors")
    return [str(name) for name in names] if isinstance(names, list) else []


def state_entries(state: str) -> dict[str, Any]:
    """Say in the metadata what the state of a collection is from now on; what is filled anew is not verified."""
    entries: dict[str, Any] = {STATE: state, STATE_AT: utc_now()}
    return entries if state == COMPLETE else {**entries, VERIFIED: None}


def utc_now() -> str:
    """The time as metadata have it: ISO 8601 with seconds, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def is_complete(info: models.CollectionInfo) -> bool | None:
    """Tell whether what a job set out to write is all there; None where the collection does not say."""
    state = (info.config.metadata or {}).get(STATE)
    return None if state is None else state == COMPLETE


def _object(value: Any) -> dict[str, Any]:
    """A JSON object of the metadata, empty where something else stands there."""
    return value if isinstance(value, dict) else {}
