"""The kinds of sinks that a job's configuration may name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import Field

if TYPE_CHECKING:
    from pipelines.sinks.base import SinkSection


@dataclass(frozen=True)
class SinkKind:
    """One kind of sink: its section of the configuration, and what makes a sink of such a section.

    Both are written ``module:name``. What makes the sink is imported by need: qdrant-client takes a worker more than a
    second to import.
    """

    section: str
    maker: str


# By the word that stands as a sink's type. A new kind adds one line.
SINKS = {
    "qdrant": SinkKind("pipelines.sinks.qdrant.config:QdrantSinkConfig", "pipelines.sinks.qdrant.factory:make_sink"),
    "parquet": SinkKind(
        "pipelines.sinks.parquet.config:ParquetSinkConfig", "pipelines.sinks.parquet.factory:make_sink"
    ),
}
SECTIONS: tuple[type[SinkSection], ...] = tuple(resolve_name(kind.section) for kind in SINKS.values())

if TYPE_CHECKING:
    SinkConfig: TypeAlias = SinkSection
else:
    SinkConfig = Annotated[reduce(or_, SECTIONS), Field(discriminator="type")]
