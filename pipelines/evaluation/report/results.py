"""The results of an evaluation, as dataclasses and as ``results.json``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from pipelines.errors import ConfigError
from pipelines.filesystem import write_json

FORMAT = 1
# A file with NaN or infinity in the place of a figure compares as neither better nor worse: it is no results.
Finite = Annotated[float, Field(allow_inf_nan=False)]


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
    metrics: Annotated[dict[str, Finite], Field(min_length=1)]
    encode_ms: Finite
    search_ms: Finite
    search_p95_ms: Finite
    bytes_per_document: Finite
    embed_seconds: Finite | None
    vectors: list[str]
    search: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The way and its index, for people to read."""
        return f"{self.way} ({self.index})"

    @property
    def query_ms(self) -> float:
        """Milliseconds a query takes, encoding and search."""
        return self.encode_ms + self.search_ms

    @property
    def queries_per_second(self) -> float:
        """Queries that one client gets answered a second, one after the other."""
        return 1000 / self.query_ms if self.query_ms else 0.0


@dataclass(frozen=True)
class Embedded:
    """The workers' seconds and the rows of the run that embedded the corpus, and the fingerprint of its vectors."""

    seconds: Finite
    rows: int
    fingerprint: str


@dataclass(frozen=True)
class Results:
    """Everything about one evaluation.

    ``dataset`` is the `BeirDataset.summary`. ``embedding`` is by the embeddings' names. ``engine`` says what answered
    the queries, ``index`` what is known of its index.
    """

    dataset: dict[str, Any]
    measurements: Annotated[list[Measurement], Field(min_length=1)]
    fingerprint: str = ""
    created: str = ""
    engine: str = ""
    embedding: dict[str, Embedded] = field(default_factory=dict)
    index: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, with the derived figures for those who read the file without this code."""
        rows = [
            {**asdict(one), "query_ms": one.query_ms, "queries_per_second": one.queries_per_second}
            for one in self.measurements
        ]
        return {"format": FORMAT, **asdict(self), "measurements": rows}

    def save(self, path: Path) -> None:
        """Write the file; readers see the old one or the new one, never half of one."""
        write_json(path, self.to_json())


_RESULTS = TypeAdapter(Results)


def load_results(path: Path) -> Results:
    """Read ``results.json``; raises ConfigError for a file that is none, that is damaged, or that measured nothing."""
    try:
        text = path.read_text(encoding="utf-8")
        raw = json.loads(text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}") from None
    if not isinstance(raw, dict) or "format" not in raw:
        raise ConfigError(f"{path} holds no results of an evaluation: it has no format")
    if raw["format"] != FORMAT:
        raise ConfigError(f"{path} has format {raw['format']!r}, this version reads {FORMAT}; evaluate anew")
    try:
        return _RESULTS.validate_json(text, strict=True)
    except ValidationError as error:
        wrong = error.errors()[0]
        key = ".".join(map(str, wrong["loc"])) or "the file"
        raise ConfigError(f"{path} holds no results of an evaluation: {key}: {wrong['msg']}") from None
