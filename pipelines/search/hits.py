"""What a search finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

# True for all of a payload, False for none, or the keys wanted.
Payload = bool | Sequence[str]


@dataclass(frozen=True)
class Hit:
    """One found point: its score under the stage that ordered it last, and its payload."""

    id: str
    score: float
    payload: dict[str, Any] = field(default_factory=dict)

    @property
    def document_id(self) -> str:
        """The document's id; the point's own where no job wrote it."""
        return str(self.payload.get("document_id", self.id))

    @property
    def title(self) -> str:
        """The document's id, with the chunk's number where the document was cut."""
        chunk = self.payload.get("chunk_no")
        return self.document_id if chunk is None else f"{self.document_id} (chunk {chunk})"


def with_payload_of(hit: Hit, wanted: Payload) -> Hit:
    """Leave in a hit's payload what is wanted of it."""
    if isinstance(wanted, bool):
        return hit if wanted else replace(hit, payload={})
    return replace(hit, payload={key: hit.payload[key] for key in wanted if key in hit.payload})
