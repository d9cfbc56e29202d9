"""Hits: the points that a search returns."""

from __future__ import annotations

import reprlib
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

if TYPE_CHECKING:
    from pipelines.config.source import SourceConfig

# True for all of a payload, False for none, or the keys wanted.
Payload = bool | Sequence[str]


# Scores below it are written with more decimals.
SMALL = 0.1
# Letters of a text that a hit shows of itself.
SHOWN = 80


@dataclass(frozen=True, repr=False)
class Hit:
    """One point: its score under the stage that ordered it last, and its payload."""

    id: str
    score: float
    payload: dict[str, Any] = field(default_factory=dict)

    @property
    def document_id(self) -> str:
        """The document's id; the point's id where no job of this tool wrote the point."""
        return str(self.payload.get("document_id", self.id))

    @property
    def title(self) -> str:
        """The document's id, with the chunk's number where the document was cut."""
        chunk = self.payload.get("chunk_no")
        return self.document_id if chunk is None else f"{self.document_id} (chunk {chunk})"

    def __repr__(self) -> str:
        """One line, as a notebook shows it: title, score, and the beginning of the text or else of the payload."""
        text = self.payload.get("text")
        if isinstance(text, str):
            content = f", text={textwrap.shorten(text, SHOWN, placeholder='…')!r}"
        else:
            content = f", payload={reprlib.repr(self.payload)}" if self.payload else ""
        return f"Hit({self.title!r}, score={shown_scores([self.score])[0]}{content})"


class Hits(list[Hit]):
    """What a search returns: a list of hits, best first, that shows itself as a table.

    Images of hits are looked for where ``source`` says that their job read them.
    """

    def __init__(self, hits: Iterable[Hit] = (), source: SourceConfig | None = None) -> None:
        super().__init__(hits)
        self.source = source

    @overload
    def __getitem__(self, at: SupportsIndex) -> Hit: ...

    @overload
    def __getitem__(self, at: slice) -> Hits: ...

    def __getitem__(self, at: SupportsIndex | slice) -> Hit | Hits:
        return Hits(super().__getitem__(at), self.source) if isinstance(at, slice) else super().__getitem__(at)

    def __repr__(self) -> str:
        from pipelines.notebook.hits import hits_view
        from pipelines.notebook.text import to_text

        return to_text(hits_view(self, self.source))

    def _repr_html_(self) -> str:
        from pipelines.notebook.hits import hits_view
        from pipelines.notebook.html import to_html

        return to_html(hits_view(self, self.source))


def shown_scores(scores: Sequence[float]) -> list[str]:
    """Write scores with 3 decimals; with 5 where all are below 0.1, as those of a fusion with a large k are."""
    small = all(abs(score) < SMALL for score in scores) and any(scores)
    return [f"{score:.{5 if small else 3}f}" for score in scores]


def with_payload_of(hit: Hit, wanted: Payload) -> Hit:
    """Return the hit with those parts of its payload that are ``wanted``."""
    if isinstance(wanted, bool):
        return hit if wanted else replace(hit, payload={})
    return replace(hit, payload={key: hit.payload[key] for key in wanted if key in hit.payload})
