"""What a dataset's schema tells of what made its vectors, as those of ``EmbeddingPipeline.embed`` and ``Embed`` do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipelines.sinks.parquet.files import METADATA_KEY


def told_provenance(schema: pa.Schema) -> dict[str, Any]:
    """Read what made the vectors (see ``pipelines.sinks.provenance``); empty where the schema does not say it."""
    told = (schema.metadata or {}).get(METADATA_KEY)
    try:
        read = None if told is None else json.loads(told)
    except ValueError:
        read = None
    return read if isinstance(read, dict) else {}


def as_metadata(provenance: Mapping[str, Any]) -> dict[bytes, bytes]:
    """Write what made the vectors as metadata of a schema; none where nothing is known."""
    return {METADATA_KEY: json.dumps(provenance, sort_keys=True).encode()} if provenance else {}


def told_vectors(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """Read how vectors are to be compared (``kind``, ``distance``, ``idf``), by their columns."""
    told = told_provenance(schema).get("vectors")
    return {name: one for name, one in told.items() if isinstance(one, dict)} if isinstance(told, dict) else {}


def joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Put together what made vectors that are columns of one dataset."""
    both = {key: {**one[key], **other[key]} for key in one.keys() & other.keys() if isinstance(other[key], dict)}
    return {**one, **other, **both}
