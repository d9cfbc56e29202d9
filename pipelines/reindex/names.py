"""Which collection a job fills whose sink has an alias: one that is named after the alias and the job's fingerprint.

This is the only place that knows. Sinks, leases and searches get a configuration with a plain collection.
"""

from __future__ import annotations

import re

from pipelines.config.job import JobConfig
from pipelines.config.sinks import SinkConfig
from pipelines.embed.average_length import measuring
from pipelines.embed.checked import JobEmbedders
from pipelines.errors import ConfigError
from pipelines.sinks.qdrant.config import QdrantSinkConfig

# Digits of a fingerprint in a collection's name.
DIGITS = 12


def collection_name(alias: str, fingerprint: str) -> str:
    """Name the collection that a job of this fingerprint fills for an alias."""
    return f"{alias}-{fingerprint[:DIGITS]}"


def is_named_after(alias: str, collection: str) -> bool:
    """Tell whether a collection has a name that ``collection_name`` gives for an alias."""
    return re.fullmatch(rf"{re.escape(alias)}-[0-9a-f]{{{DIGITS}}}", collection) is not None


def alias_sink(config: JobConfig) -> QdrantSinkConfig:
    """Return the sink that has an alias; raises ConfigError unless there is exactly one."""
    found = [sink for sink in config.sink if _has_alias(sink)]
    if len(found) != 1 or not isinstance(found[0], QdrantSinkConfig):
        number = "no sink has an alias" if not found else f"{len(found)} sinks have an alias"
        raise ConfigError(
            f"sink: {number}, and reindexing needs one that has; write `alias: NAME` in the place of `collection: "
            "NAME` in the section of one Qdrant server"
        )
    return found[0]


def with_collections(config: JobConfig, embedders: JobEmbedders) -> JobConfig:
    """Put the collection that the job fills in the place of each alias.

    Raises ConfigError where its name cannot be known before the run, or another sink fills the same collection.
    """
    if not any(_has_alias(sink) for sink in config.sink):
        return config
    if unknown := measuring(config):
        raise ConfigError(
            f"sink.alias: the collection is named after the job's fingerprint, which is not known before the average "
            f"length of {' and '.join(unknown)} is measured; write a number for avg_len in the place of measure (a run "
            "with a collection in the place of the alias measures it, and its report says it)"
        )
    fingerprint = embedders.facts(config).fingerprint
    named = config.model_copy(update={"sink": [_named(sink, fingerprint) for sink in config.sink]})
    if len({(sink.type, sink.identity) for sink in named.sink}) < len(named.sink):
        raise ConfigError("sink: the collection that the alias stands for is named by another sink too; leave one out")
    return named


def _has_alias(sink: SinkConfig) -> bool:
    return isinstance(sink, QdrantSinkConfig) and sink.alias is not None


def _named(sink: SinkConfig, fingerprint: str) -> SinkConfig:
    if not isinstance(sink, QdrantSinkConfig) or sink.alias is None:
        return sink
    return sink.model_copy(update={"alias": None, "collection": collection_name(sink.alias, fingerprint)})
