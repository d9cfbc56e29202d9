"""What sinks must know of a job whose source brings the vectors, read from the files, without any model."""

from __future__ import annotations

from typing import Any

from embedders.fingerprint import facts_digest
from pipelines.config.job import JobConfig
from pipelines.errors import ConfigError, SourceError
from pipelines.sinks.base import JobFacts
from pipelines.sources.vectors.sets import VectorSet, find_sets


def brought_facts(config: JobConfig) -> JobFacts:
    """Gather the facts of the job that made the vectors; raises SourceError, or ConfigError for another corpus.

    Of several folders, they are those of one job that made all of their vectors. See ``joined_fingerprint``.
    """
    sets = find_sets(config.source)
    corpus = _corpus(config, sets)
    made = [one.content.provenance for one in sets]
    vectors = {name: spec for one in sets for name, spec in one.content.specs.items()}
    for sink in config.sink:
        sink.refuse_vectors(vectors)
    return JobFacts(
        corpus=corpus,
        fingerprint=joined_fingerprint(made),
        vectors=vectors,
        models=_joined(made, "models"),
        fingerprints=_joined(made, "fingerprints"),
        chunked=bool(made[0].get("chunked")),
        embeddings=_joined(made, "embeddings"),
    )


def joined_fingerprint(made: list[dict[str, Any]]) -> str:
    """Return the fingerprint of one provenance, or that of a job which made the vectors of all of them.

    The latter can be had where documents were not cut and each embedding gave one vector. Elsewhere it is made of the
    fingerprints that are joined, and no job that embeds can add to what is filled with them.
    """
    if len(made) == 1:
        return str(made[0]["fingerprint"])
    if all(_whole(one["fingerprints"]) == one["fingerprint"] for one in made):
        return _whole(_joined(made, "fingerprints"))
    return facts_digest({"joined": sorted(one["fingerprint"] for one in made)})


def _whole(fingerprints: dict[str, str]) -> str:
    """Fingerprint of a job without chunking whose embeddings have these (see ``pipelines.identity.fingerprint``)."""
    return facts_digest({"embeddings": fingerprints, "chunking": None})


def _joined(made: list[dict[str, Any]], key: str) -> dict[str, Any]:
    return {name: value for one in made for name, value in (one.get(key) or {}).items()}


def _corpus(config: JobConfig, sets: list[VectorSet]) -> str:
    found = sorted({one.content.provenance["corpus"] for one in sets if "corpus" in one.content.provenance})
    if len(found) > 1:
        raise SourceError(f"source.vectors: the folders are of the corpora {', '.join(found)}, which cannot be joined")
    if found and "corpus" in config.model_fields_set and config.corpus != found[0]:
        raise ConfigError(
            f"corpus: what source.vectors brings is of the corpus {found[0]}, which is part of its point ids; leave "
            "corpus out"
        )
    return found[0] if found else config.corpus
