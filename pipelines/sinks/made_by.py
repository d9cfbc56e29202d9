"""What made the vectors of a place, written down with them, and how another job differs from it."""

from __future__ import annotations

from typing import Any

from pipelines.sinks.base import JobFacts


def describe(job: JobFacts) -> dict[str, Any]:
    """Say as JSON what a place keeps with its vectors."""
    vectors = {
        name: {"kind": spec.kind, "dim": spec.dim, "distance": spec.distance, "idf": spec.idf}
        for name, spec in job.vectors.items()
    }
    return {
        "fingerprint": job.fingerprint,
        "corpus": job.corpus,
        "chunked": job.chunked,
        "models": dict(job.models),
        "fingerprints": dict(job.fingerprints),
        "embeddings": dict(job.embeddings),
        "vectors": vectors,
    }


def differences(held: dict[str, Any], job: JobFacts) -> list[str]:
    """Name what differs between what a place holds (see ``describe``) and this job; empty where they agree.

    The corpus may differ: two corpora can share a place.
    """
    wanted = describe(job)
    if held.get("fingerprint") == job.fingerprint and held.get("vectors") == wanted["vectors"]:
        return []
    found = _vector_differences(held.get("vectors", {}), wanted["vectors"])
    found += _embedding_differences(held, wanted)
    if held.get("chunked") != job.chunked:
        found.append(f"there documents are {'' if held.get('chunked') else 'not '}cut into chunks, unlike in this job")
    return found or ["the chunking has other settings"]


def _vector_differences(held: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    found = [f"it has the vector {name!r}, which this job does not make" for name in held if name not in wanted]
    found += [f"it lacks the vector {name!r}, which this job makes" for name in wanted if name not in held]
    for name in sorted(held.keys() & wanted.keys()):
        for fact, value in wanted[name].items():
            if held[name].get(fact) != value:
                found.append(f"vector {name!r} has {fact} {held[name].get(fact)}, this job's has {value}")
    return found


def _embedding_differences(held: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    found = []
    for name in sorted(held.get("models", {}).keys() & wanted["models"].keys()):
        before, now = held["models"][name], wanted["models"][name]
        if before != now:
            found.append(f"vector {name!r} was made by the model {before}, this job uses {now}")
        elif held.get("fingerprints", {}).get(name) != wanted["fingerprints"].get(name):
            found.append(f"vector {name!r} was made by the model {now} with other files or settings")
    return found
