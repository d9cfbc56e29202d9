"""The collection that a job copies to the one that takes its place, where the job reads one."""

from __future__ import annotations

from dataclasses import dataclass

from qdrant_client import models

from pipelines.config.job import JobConfig
from pipelines.errors import ConfigError
from pipelines.reindex.aliases import Alias
from pipelines.reindex.names import alias_sink
from pipelines.search.filters import build_filter
from pipelines.sinks.qdrant.collection import Collection
from pipelines.sinks.qdrant.guard import GUARDED_SINCE
from pipelines.sinks.qdrant.versions import dotted, release_of
from pipelines.urls import server_of


@dataclass(frozen=True)
class Origin:
    """A collection, and which of its points the job reads: all of them where ``chosen`` is None."""

    collection: Collection
    chosen: models.Filter | None

    @property
    def name(self) -> str:
        """The collection's name, never an alias."""
        return self.collection.name


def find_origin(config: JobConfig, alias: Alias) -> Origin | None:
    """Find the collection of the alias's server that the job reads; None where a run is to make a single pass.

    So it is where files or another server's collection are read, or ``why_single`` says why. Raises SinkError.
    """
    section = config.source.qdrant
    if section is None or not reads_server_of_alias(config) or why_single(config) is not None:
        return None
    name = alias.targets().get(section.collection, section.collection)
    chosen = None if section.filter is None else build_filter(section.filter)
    return Origin(alias.collection(name), chosen)


def why_single(config: JobConfig) -> str | None:
    """Say why a job that reads a collection of the alias's server makes a single pass; None where it makes several."""
    if not reads_server_of_alias(config):
        return None
    if config.source.limit is not None:
        return f"source.limit is {config.source.limit:,}, so that the old collection is not read whole"
    if len(config.sink) > 1:
        return f"the job has {len(config.sink)} sinks, and only the one with the alias could catch up"
    return None


def pinned(config: JobConfig, collection: str) -> JobConfig:
    """Let a job read a collection by its name, also where an alias that it gives moves."""
    section = config.source.qdrant
    if section is None:
        raise ValueError("the source is no collection")
    read = section.model_copy(update={"collection": collection})
    return config.model_copy(update={"source": config.source.model_copy(update={"qdrant": read})})


def refuse_old_server(alias: Alias) -> None:
    """Raise ConfigError for a server that would overwrite what writers put into the new collection meanwhile.

    One that does not say its version is not refused.
    """
    try:
        version = alias.client.info().version
    # Behind a proxy that serves collections alone; a server that is away is told of by the next request.
    except Exception:
        return
    held = release_of(version)
    if held is not None and held < GUARDED_SINCE:
        raise ConfigError(
            f"{alias.title} is on a Qdrant server {version}, and copying a collection that lives on needs "
            f"{dotted(GUARDED_SINCE)} or newer (upserts with a condition): update the server, or stop the "
            "writers and fill a collection with fleetembed embed"
        )


def refuse_same(origin: Origin, filled: Collection) -> None:
    """Raise ConfigError where the collection that is read is the one that is filled."""
    if origin.name == filled.name:
        raise ConfigError(
            f"{filled.title} is the collection that source.qdrant reads: it has the vectors of this job already; "
            "change the model, or name the collection that is to be copied"
        )


def reads_server_of_alias(config: JobConfig) -> bool:
    """Tell whether the job reads a collection of the server that has its alias."""
    read, written = config.source.qdrant, alias_sink(config)
    return (
        read is not None
        and read.url is not None
        and written.url is not None
        and server_of(read.url) == server_of(written.url)
    )
