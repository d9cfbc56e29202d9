"""The digest behind every fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any


def facts_digest(facts: Mapping[str, Any] | Sequence[Any]) -> str:
    """Hex sha256 over facts as JSON, the keys of mappings sorted.

    Fingerprints are stored beside vectors: if these bytes changed, every corpus would have to be embedded again.
    """
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
