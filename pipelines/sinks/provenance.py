"""The provenance of a place's vectors: the record, kept with them, of what made them, and how a job differs from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pipelines.fingerprints import FINGERPRINTED
from pipelines.sinks.base import JobFacts

# A vector's properties by its name, as JSON has them.
VectorProperties = Mapping[str, Mapping[str, Any]]


def provenance_of(job: JobFacts) -> dict[str, Any]:
    """Write down, as JSON, what makes a job's vectors."""
    vectors = {
        name: {"kind": spec.kind, "dim": spec.dim, "distance": spec.distance, "idf": spec.idf}
        for name, spec in job.vectors.items()
    }
    made = {FINGERPRINTED: dict(job.fingerprinted)} if job.fingerprinted else {}
    return {
        **made,
        "fingerprint": job.fingerprint,
        "corpus": job.corpus,
        "chunked": job.chunked,
        "models": dict(job.models),
        "fingerprints": dict(job.fingerprints),
        "embeddings": dict(job.embeddings),
        "vectors": vectors,
    }


def as_held(job: JobFacts, held: Iterable[Mapping[str, Any]]) -> JobFacts:
    """Give the facts that a job writes down in a place with the provenances ``held``.

    Where one of them, of an older version, does not say what its fingerprint is made of, none is to say it from now on:
    jobs that copy the place have a fingerprint that was made without.
    """
    return job if all(FINGERPRINTED in one for one in held) else replace(job, fingerprinted={})


def differences(held: Mapping[str, Any], job: JobFacts) -> list[str]:
    """Name what differs between the provenance that a place holds and this job; empty where they agree.

    The corpus may differ: two corpora can share a place.
    """
    wanted = provenance_of(job)
    if held.get("fingerprint") == job.fingerprint and held.get("vectors") == wanted["vectors"]:
        return []
    found = _vector_differences(held.get("vectors", {}), wanted["vectors"])
    found += _embedding_differences(held, wanted)
    if held.get("chunked") != job.chunked:
        found.append(f"there documents are {'' if held.get('chunked') else 'not '}cut into chunks, unlike in this job")
    return found or ["the chunking has other settings"]


def property_differences(held: VectorProperties, wanted: VectorProperties, owner: str = "this job's") -> list[str]:
    """Name the properties in which vectors of one name differ; those of ``wanted`` count, which are the ``owner``'s."""
    return [
        f"vector {name!r} has {key} {held[name].get(key)}, {owner} has {value}"
        for name in sorted(held.keys() & wanted.keys())
        for key, value in wanted[name].items()
        if held[name].get(key) != value
    ]


def _vector_differences(held: VectorProperties, wanted: VectorProperties) -> list[str]:
    found = [f"it has the vector {name!r}, which this job does not make" for name in held if name not in wanted]
    found += [f"it lacks the vector {name!r}, which this job makes" for name in wanted if name not in held]
    return found + property_differences(held, wanted)


def _embedding_differences(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    found = []
    for name in sorted(held.get("models", {}).keys() & wanted["models"].keys()):
        before, now = held["models"][name], wanted["models"][name]
        if before != now:
            found.append(f"vector {name!r} was made by the model {before}, this job uses {now}")
        elif held.get("fingerprints", {}).get(name) != wanted["fingerprints"].get(name):
            found.append(f"vector {name!r} was made by the model {now} with other files or settings")
    return found
