"""What one setting came to, as it is kept: a file beside its vectors, so that it is not measured twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from pipelines.filesystem import write_json

FORMAT = 1


@dataclass(frozen=True)
class MeasuredWay:
    """One way to search: what it found by query, best first, and a query's milliseconds."""

    way: str
    run: Mapping[str, list[str]]
    encode_ms: float
    search_ms: float
    bytes_per_document: float


@dataclass(frozen=True)
class Embedded:
    """What it took to embed the sample.

    ``seconds`` are the models', summed, ``truncated`` counts texts that were longer than a model takes, ``dead`` those
    that could not be embedded. ``points`` are more than documents where these were cut into chunks. ``partial`` tells
    that an earlier run, which was stopped, had embedded some of them: seconds and tokens are those of the rest.
    """

    seconds: float = 0.0
    points: int = 0
    tokens: int = 0
    truncated: int = 0
    dead: int = 0
    partial: bool = False


@dataclass(frozen=True)
class Outcome:
    """What one setting came to, in all its ways; ``error`` says why it came to nothing."""

    ways: list[MeasuredWay] = field(default_factory=list)
    embedded: Embedded = Embedded()
    notices: list[str] = field(default_factory=list)
    error: str | None = None


Kept = TypeVar("Kept", Embedded, Outcome)


def save(kept: Embedded | Outcome, path: Path) -> None:
    """Write it as JSON."""
    write_json(path, {"format": FORMAT, **asdict(kept)})


def load(kind: type[Kept], path: Path) -> Kept | None:
    """Read what was written; None where nothing was, or nothing that this version reads."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
            return None
        return TypeAdapter(kind).validate_python(raw)
    except (OSError, ValueError):
        return None
