"""``pipelines.compare``: the experiment of which model, or which setting, suits one's documents and queries."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

from embedders.errors import FleetembedError
from pipelines.config.compute import ComputeConfig
from pipelines.config.job import JobConfig
from pipelines.config.section import make_section
from pipelines.errors import ConfigError
from pipelines.evaluation.packages import refuse_if_missing
from pipelines.experiment.experiment import Experiment
from pipelines.experiment.outcome import Outcome
from pipelines.experiment.sample import Sample, read_sample
from pipelines.experiment.settings import Setting, read_settings
from pipelines.one_line import one_line
from pipelines.sources.walk import OUTPUT_MARK
from pipelines.urls import refuse_url

LOGGERS = ("fleetembed", "embedders")
# Letters of an error that a line of progress shows.
SHOWN = 100


def compare(
    settings: Sequence[Any] | Mapping[str, Any],
    queries: Mapping[Any, str] | Sequence[str] | str | Path | None = None,
    qrels: Mapping[Any, Any] | Sequence[Any] | str | Path | None = None,
    *,
    documents: Any = None,
    id: str = "id",
    text: str = "text",
    limit: int | None = None,
    ways: Literal["main", "all"] = "main",
    folder: str | Path | None = None,
    compute: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Experiment:
    """Compare settings over one sample of documents: a table of quality, size, seconds, and texts that were cut.

    ``settings`` is a list, or a dict of name -> setting. A setting is a catalog model's name, the keys of an embedding
    (``{"model": ..., "path": ..., "max_length": 128}``), a list of these (a hybrid), or a whole job: a YAML's path, a
    dict or a JobConfig, whose embeddings, chunking and searches count. Each embeds the documents once, and each query
    is compared with every vector.

    ``documents`` are texts, dicts with ``id`` and ``text``, a pandas or polars frame, an Arrow table, the path of files
    that a job can read, or a BEIR folder, which brings queries and judgements too; left out, the source of the first
    job that has one. ``limit`` takes the first so many.

    ``queries`` are a list, or a dict of id -> text. ``qrels`` says which documents are relevant: query id -> {document
    id: grade}, or a list of ids; or, in the order of the queries, a list of these; or a BEIR file (.tsv). Without
    ``qrels`` there is no quality, and the table says how much of their first ten results settings have in common.

    ``ways`` is "main" (each vector alone, all fused, stages once, and a job's ``searches``), or "all" that
    ``fleetembed evaluate`` measures. What was embedded is kept in ``folder``, or for as long as this process lives,
    so that a second call is quick. ``compute`` is a job's section; left out, this process does the work.

    A setting that fails costs no other: its line says why. Raises ConfigError and SourceError for documents, queries or
    judgements that cannot be used.
    """
    if ways not in ("main", "all"):
        raise ConfigError(f"ways must be 'main' or 'all', got {ways!r}")
    read = read_settings(settings)
    sample = read_sample(_or_of_a_job(documents, read), queries, qrels, id=id, text=text, limit=limit)
    if sample.judgements is not None:
        refuse_if_missing(("ir_measures",))
    place = _place(folder)
    section = make_section(ComputeConfig, {"engine": "local"} if compute is None else dict(compute), "compute")
    outcomes: dict[str, Outcome] = {}
    for number, setting in enumerate(read, 1):
        started = time.monotonic()
        outcomes[setting.name] = outcome = _measured(setting, sample, place, section, all_ways=ways == "all")
        if progress:
            _tell(f"{number}/{len(read)} {setting.name}", outcome, time.monotonic() - started)
    return Experiment(outcomes, sample)


def _measured(setting: Setting, sample: Sample, place: Path, compute: ComputeConfig, *, all_ways: bool) -> Outcome:
    if setting.job is None:
        return Outcome(error=setting.error)
    # Imported late: what is wrong with the call is told at once.
    from pipelines.experiment.measure import measure_setting

    try:
        with _quiet():
            return measure_setting(setting.job, sample, place, compute, all_ways=all_ways)
    except FleetembedError as error:
        return Outcome(error=str(error))
    # Whatever a model or a setting does: the others are of use without it.
    except Exception as error:
        return Outcome(error=f"{type(error).__name__}: {error}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out warnings of the log: texts that are cut are in the table, and so is what queries find."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _or_of_a_job(documents: Any, settings: Sequence[Setting]) -> Any:
    if documents is not None:
        return documents
    job: JobConfig | None = next((one.job for one in settings if one.has_source and one.job is not None), None)
    return None if job is None else job.source.model_dump(exclude_defaults=True)


def _place(folder: str | Path | None) -> Path:
    """The folder where things are kept, with a mark by which no job reads it as documents."""
    if folder is None:
        return Path(_own_folder().name)
    place = Path(folder).expanduser()
    refuse_url(place, "folder")
    try:
        place.mkdir(parents=True, exist_ok=True)
        if not any(place.iterdir()):
            (place / OUTPUT_MARK).touch()
    except OSError as error:
        raise ConfigError(f"folder {place}: cannot be made, or written into: {error.strerror}") from None
    return place


@cache
def _own_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="fleetembed-compare-")


def _tell(what: str, outcome: Outcome, seconds: float) -> None:
    came_to = f"measured in {seconds:.1f} s"
    if outcome.error is not None:
        came_to = f"failed: {one_line(outcome.error, SHOWN)}"
    print(f"{what}: {came_to}", flush=True)
