"""What the job that filled a collection wrote down of it, for jobs that read the collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qdrant_client import QdrantClient

from pipelines.config.collection import CollectionConfig
from pipelines.config.sinks import SinkConfig
from pipelines.fingerprints import held_chunking, held_facts
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.description import held_provenance
from pipelines.sinks.qdrant.folder_engine import engine_of
from pipelines.sources.qdrant.connection import connected, look, read_key


def copied_chunking(
    section: CollectionConfig, sinks: Sequence[SinkConfig], fingerprints: Mapping[str, str]
) -> dict[str, Any] | None:
    """Read how the documents of a collection were cut (see ``chunking_facts``); None where it does not say.

    Where the collection is gone, the one that a sink's alias names says it, if the embeddings with these
    ``fingerprints`` filled it: it was copied. Raises SourceError where a server stays away.
    """
    held = _provenance(section)
    if held is not None:
        return held_chunking(held)
    for sink in sinks:
        if isinstance(sink, QdrantSinkConfig) and sink.alias is not None:
            held = _provenance(_searched(sink)) or {}
            made = held_facts(held)
            return held_chunking(held) if made is not None and made["embeddings"] == fingerprints else None
    return None


def resolve(client: QdrantClient, section: CollectionConfig) -> tuple[str, dict[str, str]]:
    """Ask for the name of the collection that a section names, also by an alias, and for what all aliases name."""
    aliases = look(section, lambda: client.get_aliases().aliases, "asking for the aliases")
    targets = {one.alias_name: one.collection_name for one in aliases}
    return targets.get(section.collection, section.collection), targets


def _provenance(section: CollectionConfig) -> dict[str, Any] | None:
    """Read what made a collection's vectors, empty where it does not say; None where there is no such collection."""
    if section.path is not None and engine_of(section.path) is None:
        return None
    with connected(section, read_key(section)) as client:
        name, _ = resolve(client, section)
        if not look(section, lambda: client.collection_exists(name), "looking for the collection"):
            return None
        return held_provenance(look(section, lambda: client.get_collection(name), "reading its configuration"))


def _searched(sink: QdrantSinkConfig) -> CollectionConfig:
    shared = ("url", "api_key", "prefer_grpc", "grpc_port", "timeout", "retry_seconds")
    return CollectionConfig(collection=sink.searched, **{key: getattr(sink, key) for key in shared})
