"""What an evaluation found, as dataclasses and as ``results.json``."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pipelines.errors import ConfigError

FORMAT = 1


@dataclass(frozen=True)
class Measurement:
    """One way to search, with or without an index.

    ``index`` is "exact" or "HNSW". ``metrics`` are means over the queries, 0 to 1. Milliseconds are a query's:
    ``encode_ms`` to make its vectors, ``search_ms`` and its 95th percentile to find a page of 10 hits.
    ``bytes_per_document`` are those of the vectors that the way reads. ``embed_seconds`` are the workers' sum, None
    where no run in this folder embedded the corpus.
    """

    way: str
    index: str
    metrics: dict[str, float]
    encode_ms: float
    search_ms: float
    search_p95_ms: float
    bytes_per_document: float
    embed_seconds: float | None
    vectors: list[str]
    search: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name with the index, for people to read."""
        return f"{self.way} ({self.index})"

    @property
    def query_ms(self) -> float:
        """Milliseconds a query takes, encoding and search."""
        return self.encode_ms + self.search_ms

    @property
    def queries_per_second(self) -> float:
        """How many queries a second one client gets answered, one after the other."""
        return 1000 / self.query_ms if self.query_ms else 0.0


@dataclass(frozen=True)
class Results:
    """Everything about one evaluation.

    ``dataset`` is what `BeirDataset.facts` says. ``embedding`` maps an embedding to the seconds and rows of the run
    that embedded the corpus. ``engine`` says what answered the queries.
    """

    dataset: dict[str, Any]
    measurements: list[Measurement]
    fingerprint: str = ""
    created: str = ""
    engine: str = ""
    embedding: dict[str, dict[str, float]] = field(default_factory=dict)
    index: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with the derived figures for those who read the file without this code."""
        rows = [
            {**asdict(found), "query_ms": found.query_ms, "queries_per_second": found.queries_per_second}
            for found in self.measurements
        ]
        return {"format": FORMAT, **asdict(self), "measurements": rows}

    def save(self, path: Path) -> None:
        """Write the file; readers see the old one or the new one, never half of one."""
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(path)


def load_results(path: Path) -> Results:
    """Read ``results.json``; raises ConfigError for a file that is none."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}") from None
    try:
        if raw["format"] != FORMAT:
            raise ConfigError(f"{path} has format {raw['format']!r}, this version reads {FORMAT}; evaluate anew")
        known = {one.name for one in fields(Results)}
        rows = [_measurement(row) for row in raw["measurements"]]
        return Results(**{**{name: raw[name] for name in known.intersection(raw)}, "measurements": rows})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} holds no results of an evaluation: {type(error).__name__} {error}") from None


def _measurement(row: Mapping[str, Any]) -> Measurement:
    known = {one.name for one in fields(Measurement)}
    found = Measurement(**{name: row[name] for name in known.intersection(row)})
    if not all(isinstance(name, str) for name in (found.way, found.index)):
        raise ValueError("way and index must be text")
    for name, value in found.metrics.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{name} of {found.way} is {value!r}")
    return found
