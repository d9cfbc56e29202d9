"""A job's fingerprint, and what it is made of: kept beside vectors, so that who copies these goes on with the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from embedders.fingerprint import facts_digest
from pipelines.config.chunking import ChunkingConfig

# Under which key a provenance says what its fingerprint is made of: the fingerprints of embeddings by name, and the
# settings by which documents were cut, None where they were not. Places of older versions do not have it.
FINGERPRINTED = "fingerprinted"


def fingerprint_facts(embeddings: Mapping[str, str], cuts: Mapping[str, Any] | None) -> dict[str, Any]:
    """Put together what a job's fingerprint is the digest of.

    ``embeddings`` are the fingerprints of its embeddings by name, ``cuts`` what ``chunking_facts`` gives.
    """
    return {"embeddings": dict(embeddings), "chunking": None if cuts is None else dict(cuts)}


def chunking_facts(chunking: ChunkingConfig, tokenizer: str) -> dict[str, Any]:
    """Write down how documents are cut.

    ``tokenizer`` is the content of the chunking's tokenizer.json: that counts, and not where the file lies.
    """
    digest = hashlib.sha256(tokenizer.encode()).hexdigest()
    return {**chunking.model_dump(exclude={"tokenizer"}), "tokenizer": digest}


def held_facts(provenance: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read what a provenance's fingerprint is made of; None where it does not say, or says another one's."""
    held = provenance.get(FINGERPRINTED)
    if not isinstance(held, dict) or facts_digest(held) != provenance.get("fingerprint"):
        return None
    return held if isinstance(held.get("embeddings"), dict) else None


def held_chunking(provenance: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read how the documents of a place were cut; None where they were not, or it does not say."""
    held = held_facts(provenance)
    cuts = None if held is None else held.get("chunking")
    return cuts if isinstance(cuts, dict) else None
