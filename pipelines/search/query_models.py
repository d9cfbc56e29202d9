"""Which models encode the queries of a collection: those that its job wrote down, or those that a caller names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.config.embeddings import EmbeddingConfig
from pipelines.config.section import make_section
from pipelines.config.shown import shown
from pipelines.errors import ConfigError
from pipelines.search.encoders import QueryEncoder, shape
from pipelines.sinks.qdrant.description import CollectionDescription


def with_models(
    description: CollectionDescription, models: Mapping[str, str | Mapping[str, Any]]
) -> dict[str, EmbeddingConfig]:
    """Tell how queries of a collection's vectors are encoded: as its job wrote down, changed by what a caller names.

    ``models`` maps a vector to a catalog model's name, or to keys of an embedding. Raises ConfigError.
    """
    embeddings = dict(description.embeddings)
    for vector, given in models.items():
        if not isinstance(given, str | Mapping):
            raise ConfigError(
                f"the model of vector {vector!r}: give a name or keys of an embedding, not {shown(given)}"
            )
        where = f"the model of vector {vector!r}"
        before = description.embeddings.get(vector)
        if isinstance(given, str) or before is None:
            # A name that an embedding cannot have does no harm: it stands in messages only.
            usable = vector if vector[:1].isalpha() and vector.replace("_", "").replace("-", "").isalnum() else "query"
            keys = {"name": usable, **({"model": given} if isinstance(given, str) else given)}
            embeddings[vector] = make_section(EmbeddingConfig, keys, where)
        else:
            changed = make_section(EmbeddingConfig, {**before.model_dump(exclude_defaults=True), **given}, where)
            embeddings |= dict.fromkeys(before.vector_names, changed)
    return embeddings


def make_encoders(
    embeddings: Mapping[str, EmbeddingConfig], description: CollectionDescription, place: str
) -> dict[str, QueryEncoder]:
    """Make what encodes queries for each vector: one encoder for all the vectors of an embedding.

    ``embeddings`` maps vectors to what makes them; an average length that is to be measured is the one that the
    collection was filled with. ``place`` names the collection in errors. Raises ConfigError for a vector that the
    collection does not have, for a length that it does not say, and where no vector has an embedding.
    """
    settled = {
        vector: _with_held_length(embedding, description.embeddings.get(vector), place)
        for vector, embedding in embeddings.items()
    }
    specs = description.vectors
    listed = ", ".join(f"{name or '(unnamed)'}: {shape(spec.arrow_type)}" for name, spec in specs.items()) or "none"
    for vector in settled:
        if vector not in specs:
            raise ConfigError(f"{place} has no vector {vector!r}; its vectors are {listed}")
    if not settled:
        unnamed = " (of the unnamed one: --model =MODEL)" if "" in specs else ""
        raise ConfigError(
            f"{place} does not say which models made its vectors: other software filled it, or an earlier version of "
            "this tool. Name them: in Python as Searcher.open(..., models={'VECTOR': 'MODEL'}), in a search by "
            f"--collection as --model VECTOR=MODEL{unnamed}; or give --config of a job whose sink has this collection, "
            f"and no alias; its vectors are {listed}"
        )
    encoders: dict[str, QueryEncoder] = {}
    for vector, embedding in settled.items():
        shared = next((encoder for encoder in encoders.values() if encoder.embedding == embedding), None)
        encoders[vector] = shared or QueryEncoder(embedding, description.fingerprints)
    return encoders


def _with_held_length(embedding: EmbeddingConfig, held: EmbeddingConfig | None, place: str) -> EmbeddingConfig:
    """Put the average length of the collection's embedding in the place of ``avg_len: measure``."""
    if not embedding.measures_length:
        return embedding
    words = None if held is None else held.options.get("avg_len")
    if not isinstance(words, int | float):
        raise ConfigError(
            f"{embedding.name} weighs with a measured average length (options.avg_len: measure), and {place} "
            "does not say which; run the job first, or write the number that the collection was filled with"
        )
    return embedding.with_avg_len(words)
