"""What a caller of a search gives, checked: settings, and models for a collection that does not name its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipelines.config.embeddings import EmbeddingConfig
from pipelines.errors import ConfigError
from pipelines.sinks.qdrant.description import CollectionDescription

Part = TypeVar("Part", bound=BaseModel)


def validated(kind: type[Part], given: Mapping[str, Any], where: str) -> Part:
    """Make a section of settings; raises ConfigError naming each wrong key."""
    try:
        return kind.model_validate(given)
    except ValidationError as wrong:
        found = [(".".join(str(part) for part in error["loc"]), error) for error in wrong.errors()]
        said = [f"{key}: {_said(error['msg'])}" if key else _said(error["msg"]) for key, error in found]
        raise ConfigError(f"{where}: {'; '.join(dict.fromkeys(said))}") from None


def with_models(
    facts: CollectionDescription, models: Mapping[str, str | Mapping[str, Any]]
) -> dict[str, EmbeddingConfig]:
    """Tell how queries of a collection's vectors are encoded: as written down there, changed by what is given.

    ``models`` maps a vector to a catalog model's name, or to keys of an embedding. Raises ConfigError.
    """
    chosen = dict(facts.embeddings)
    for vector, given in models.items():
        if not isinstance(given, str | Mapping):
            raise ConfigError(f"the model of vector {vector!r}: give a name or keys of an embedding, not {given!r}")
        before = facts.embeddings.get(vector)
        if isinstance(given, str) or before is None:
            # A name that an embedding cannot have does no harm: it stands in messages only.
            usable = vector if vector[:1].isalpha() and vector.replace("_", "").replace("-", "").isalnum() else "query"
            keys = {"name": usable, **({"model": given} if isinstance(given, str) else given)}
            chosen[vector] = validated(EmbeddingConfig, keys, f"the model of vector {vector!r}")
            continue
        changed = validated(
            EmbeddingConfig, {**before.model_dump(exclude_defaults=True), **given}, f"the model of vector {vector!r}"
        )
        chosen |= dict.fromkeys(before.vector_names, changed)
    return chosen


def with_held_lengths(
    embeddings: Mapping[str, EmbeddingConfig], facts: CollectionDescription, place: str
) -> dict[str, EmbeddingConfig]:
    """Put the average length that the collection was filled with in the place of ``avg_len: measure``.

    Raises ConfigError where the collection does not say it.
    """
    found = dict(embeddings)
    for vector, embedding in embeddings.items():
        if not embedding.measures_length:
            continue
        held = facts.embeddings.get(vector)
        words = None if held is None else held.options.get("avg_len")
        if not isinstance(words, int | float):
            raise ConfigError(
                f"{embedding.name} weighs with a measured average length (options.avg_len: measure), and {place} "
                "does not say which; run the job first, or write the number that the collection was filled with"
            )
        found[vector] = embedding.with_avg_len(words)
    return found


def _said(message: str) -> str:
    return message.removeprefix("Value error, ")
