"""Measures one setting: its job embeds the sample into a folder, whose vectors are then compared with each query's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from pipelines.config.compute import ComputeConfig
from pipelines.config.job import JobConfig
from pipelines.config.reindex import ReindexConfig
from pipelines.embed.average_length import with_stand_ins
from pipelines.embed.row_embedder import RowEmbedder
from pipelines.errors import ConfigError
from pipelines.evaluation.engines.collection import EvaluatedCollection, evaluation_sink
from pipelines.evaluation.job import make_job
from pipelines.evaluation.measure import Examiner, run_trials
from pipelines.evaluation.packages import versions
from pipelines.evaluation.ways import Way, choose_ways
from pipelines.experiment.outcome import FORMAT, Embedded, MeasuredWay, Outcome, load, save
from pipelines.experiment.sample import Sample
from pipelines.experiment.settled import SettledEngine
from pipelines.pipeline import EmbeddingPipeline
from pipelines.run.given_source import with_source
from pipelines.search import Searcher

# Documents of a query that are kept.
DEPTH = 100
OUTCOME, EMBEDDED = "outcome.json", "embedded.json"
# The name of the one fusion among the main ways.
FUSED = "fused"


def measure_setting(
    config: JobConfig, sample: Sample, folder: Path, compute: ComputeConfig, *, all_ways: bool
) -> Outcome:
    """Embed the sample and ask its queries, or read what came of that before; raises what fails."""
    changes = {"sink": [], "reindex": ReindexConfig(), "cache": None, "compute": compute}
    job, notices = make_job(config.model_copy(update=changes), "sample", folder)
    place = folder / sample.digest[:16] / _digest(_what_is_made(job))
    kept = place / f"{_digest([_dumped(job, 'searches'), list(sample.queries.items()), all_ways])}-{OUTCOME}"
    known = load(Outcome, kept)
    if known is not None:
        return known
    place.mkdir(parents=True, exist_ok=True)
    job = with_source(_placed(job, place), [asdict(document) for document in sample.documents])
    embedded = load(Embedded, place / EMBEDDED) or _embed(job, place / EMBEDDED)
    with Searcher.from_config(job) as searcher:
        outcome = _ask(job, searcher, embedded, sample, notices, all_ways=all_ways)
    save(outcome, kept)
    return outcome


def _embed(job: JobConfig, kept: Path) -> Embedded:
    report = EmbeddingPipeline(job).run(console=Console(quiet=True, force_jupyter=False))
    stages = [report.stages.get(one.name, {}) for one in job.embeddings]
    points = report.rows["chunked"] - report.rows["dead"]
    embedded = Embedded(
        seconds=sum(stage.get("seconds", 0.0) for stage in stages),
        points=points,
        tokens=report.tokens,
        truncated=int(max((stage.get("truncated", 0) for stage in stages), default=0)),
        dead=report.rows["dead"],
        partial=report.rows["skipped"] > 0,
    )
    save(embedded, kept)
    return embedded


def _placed(job: JobConfig, place: Path) -> JobConfig:
    """Give a job a collection, dead letters and a report in a folder of its own."""
    changes = {
        "sink": [evaluation_sink(job, "sample", place)],
        "errors": job.errors.model_copy(update={"path": str(place / "dead_letters"), "max_rate": 1.0}),
        "report": str(place / "run_report.json"),
    }
    return job.model_copy(update=changes)


def _ask(
    job: JobConfig, searcher: Searcher, embedded: Embedded, sample: Sample, notices: Sequence[str], *, all_ways: bool
) -> Outcome:
    collection = EvaluatedCollection.of(job, searcher, documents=len(sample.documents), provenance={})
    ways, left_out = choose_ways(collection.searchable, job.searches)
    chosen = ways if all_ways else _main_ways(ways, collection.searchable.finders, job)
    if sample.queries and not chosen:
        raise ConfigError("no vector of this setting can be searched with a text")
    owners = {vector: one.name for one in job.embeddings for vector in one.vector_names}
    examiner = Examiner(searcher, SettledEngine(searcher), owners)
    trials = run_trials(examiner, sample.queries, chosen, lambda way: False)
    sizes = collection.bytes_a_point()
    chunks = collection.points / len(sample.documents)
    measured = []
    for trial in trials:
        encode, search, _ = trial.milliseconds()
        run = {query: found[:DEPTH] for query, found in trial.run.items()}
        size = sum(sizes[name] for name in trial.way.vectors) * chunks
        measured.append(MeasuredWay(trial.way.name, run, encode, search, size))
    partial = "an earlier call was stopped: seconds and tokens are those of the rows that were left"
    told = [*notices, *[partial] * embedded.partial, *(left_out if all_ways else [])]
    return Outcome(measured, embedded, told)


def _main_ways(ways: Sequence[Way], finders: Sequence[str], job: JobConfig) -> list[Way]:
    """Keep each vector alone, all fused by their ranks, each pair of stages once, and the job's own searches."""
    kept, staged = [], set()
    for way in ways:
        search = way.search
        # As `choose_ways` names those of the job.
        named = way.name.removesuffix(" (searches)") in job.searches
        stages = (*search.using, search.rescore)
        if named or (len(search.using) == 1 and search.rescore is None):
            kept.append(way)
        elif search.rescore is not None:
            if stages not in staged:
                kept.append(way)
            staged.add(stages)
        elif search.using == list(finders) and search.fusion == "rrf":
            kept.append(replace(way, name=FUSED))
    return kept


def _what_is_made(job: JobConfig) -> list[Any]:
    """All that decides the vectors: settings, the models' files, and the versions of what runs them."""
    prints = [RowEmbedder(embedding).fingerprint for embedding in with_stand_ins(job).embeddings]
    return [FORMAT, _dumped(job, "embeddings"), _dumped(job, "chunking"), prints, versions()]


def _dumped(job: JobConfig, section: str) -> Any:
    return job.model_dump(mode="json", include={section})


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
