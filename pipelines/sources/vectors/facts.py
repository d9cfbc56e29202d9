"""What sinks must know of a job whose source brings the vectors, read from files or a collection, without any model."""

from __future__ import annotations

from typing import Any

from embedders.fingerprint import facts_digest
from pipelines.config.job import JobConfig
from pipelines.config.source import SourceConfig
from pipelines.errors import ConfigError, SourceError
from pipelines.fingerprints import fingerprint_facts, held_facts
from pipelines.sinks.base import JobFacts
from pipelines.sources.vectors.files import Content
from pipelines.sources.vectors.sets import find_sets


def brought_facts(config: JobConfig) -> JobFacts:
    """Gather the facts of the job that made the vectors; raises SourceError, or ConfigError for another corpus.

    Of several folders, they are those of one job that made all of their vectors. See ``_fingerprint``.
    """
    contents = _contents(config.source)
    made = [one.provenance for one in contents]
    corpus = _corpus(config, made)
    vectors = {name: spec for one in contents for name, spec in one.specs.items()}
    whole = _whole(made)
    for sink in config.sink:
        sink.refuse_vectors(vectors)
    return JobFacts(
        corpus=corpus,
        fingerprint=_fingerprint(made, whole),
        vectors=vectors,
        models=_joined(made, "models"),
        fingerprints=_joined(made, "fingerprints"),
        chunked=bool(made[0].get("chunked")),
        embeddings=_joined(made, "embeddings"),
        fingerprinted=whole if len(made) > 1 else held_facts(made[0]) or {},
    )


def _fingerprint(made: list[dict[str, Any]], whole: dict[str, Any]) -> str:
    """Return the fingerprint of one provenance, or that of a job which made the vectors of all of them.

    Where it is not known what theirs are made of, it is made of the fingerprints that are joined, and no job that
    embeds can add to what is filled with them.
    """
    if len(made) == 1:
        return str(made[0]["fingerprint"])
    return facts_digest(whole or {"joined": sorted(one["fingerprint"] for one in made)})


def _whole(made: list[dict[str, Any]]) -> dict[str, Any]:
    """Put together what the fingerprint of a job is made of that made the vectors of all; empty where nobody knows.

    Their chunking is one and their embeddings have names of their own: see ``find_sets``.
    """
    facts = [_facts_of(one) for one in made]
    if not all(facts):
        return {}
    embeddings = {name: value for one in facts for name, value in one["embeddings"].items()}
    return fingerprint_facts(embeddings, facts[0]["chunking"])


def _facts_of(made: dict[str, Any]) -> dict[str, Any]:
    """What a provenance's fingerprint is made of.

    Where it does not say, it may be of embeddings that gave one vector each, of documents that were not cut.
    """
    guess = fingerprint_facts(made.get("fingerprints") or {}, None)
    return held_facts(made) or (guess if facts_digest(guess) == made["fingerprint"] else {})


def _joined(made: list[dict[str, Any]], key: str) -> dict[str, Any]:
    return {name: value for one in made for name, value in (one.get(key) or {}).items()}


def _contents(source: SourceConfig) -> list[Content]:
    if source.qdrant is None:
        return [one.content for one in find_sets(source)]
    # Imported late: qdrant-client takes a second, and files need none.
    from pipelines.sources.qdrant.plan import collection_content

    return [collection_content(source.qdrant)]


def _corpus(config: JobConfig, made: list[dict[str, Any]]) -> str:
    found = sorted({one["corpus"] for one in made if "corpus" in one})
    if len(found) > 1:
        raise SourceError(f"source.vectors: the folders are of the corpora {', '.join(found)}, which cannot be joined")
    if found and "corpus" in config.model_fields_set and config.corpus != found[0]:
        raise ConfigError(
            f"corpus: what the source brings is of the corpus {found[0]}, which is part of its point ids; leave "
            "corpus out"
        )
    return found[0] if found else config.corpus
