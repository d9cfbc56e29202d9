"""The provenance of a place's vectors: the record, kept with them, of what made them, and how a job differs from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pipelines.fingerprints import FINGERPRINTED, held_chunking
from pipelines.sinks.base import JobFacts

# Settings of an embedding that say where files are, or how it is called, and change no vector.
PLACES = ("name", "model", "path", "text_path", "cache_dir", "local_files_only", "options")
# Characters of a setting's value in a message.
MOST_SHOWN = 80
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


def of_vectors_alone(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Leave the job's fingerprint out of a provenance: what is left tells of vectors, and of no row's content.

    A place with the fingerprint is one that a job goes on with, by what its points tell of themselves.
    """
    return {key: told for key, told in provenance.items() if key not in ("fingerprint", FINGERPRINTED)}


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
    return found or [_chunking_difference(held, wanted)]


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
            told = _setting_differences(_settings_of(held, name), _settings_of(wanted, name))
            which = f": {told}" if told else ""
            found.append(f"vector {name!r} was made by the model {now} with other files or settings{which}")
    return found


def _settings_of(provenance: Mapping[str, Any], vector: str) -> dict[str, Any] | None:
    """Read the settings of the embedding that makes a vector; None where the provenance does not say."""
    embeddings = provenance.get("embeddings") or {}
    # Of several vectors of one model, each is named after the embedding and its kind.
    names = [name for name in embeddings if vector == name or vector.startswith(f"{name}_")]
    if not names:
        return None
    settings = embeddings[max(names, key=len)]
    model = settings.get("model")
    flat = {**settings, **(model if isinstance(model, dict) else {}), **settings.get("options", {})}
    return {key: value for key, value in flat.items() if key not in PLACES}


def _setting_differences(held: dict[str, Any] | None, wanted: dict[str, Any] | None) -> str:
    """Say which settings differ, with both values; empty where none does, or nobody knows."""
    if held is None or wanted is None:
        return ""
    keys = [key for key in {**held, **wanted} if held.get(key) != wanted.get(key)]
    return ", ".join(f"{key} {_shown(held, key)} there, {_shown(wanted, key)} in this job" for key in keys)


def _shown(settings: Mapping[str, Any], key: str) -> str:
    return shortened(settings[key]) if settings.get(key) is not None else "left out"


def shortened(value: Any) -> str:
    """Show a setting's value in a message."""
    shown = str(value)
    return shown if len(shown) <= MOST_SHOWN else f"{shown[:MOST_SHOWN]}..."


def _chunking_difference(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    its, ours = (held_chunking(one) for one in (held, wanted))
    told = _setting_differences(_readable(its), _readable(ours))
    return f"the chunking has other settings{f': {told}' if told else ''}"


def _readable(cuts: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if cuts is None else {**cuts, "tokenizer": f"with sha256 {str(cuts.get('tokenizer'))[:12]}..."}
