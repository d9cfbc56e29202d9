"""Which files and folders a job writes to, and the plan of its source, which leaves them and its collections alone."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from embedders.errors import ModelNotFoundError
from embedders.files.cache import cache_root
from pipelines.config.job import JobConfig
from pipelines.errors import ConfigError
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sources import SourcePlan, plan_source
from pipelines.sources.files import FoundFile
from pipelines.sources.plan import list_source
from pipelines.sources.written import Written
from pipelines.urls import Place, local_path, named_place, server_of

# Where fleetembed evaluate writes unless it is told another place.
EVALUATIONS = "output/evaluation"
LETTERS = "errors.path (dead letters, beside the report)"
DELETED = "report (deleted points, beside it)"
PAGE = "report (its page, beside it)"


def plan_job_source(config: JobConfig) -> SourcePlan:
    """Plan a job's source without what the job itself writes; raises as `plan_source` does."""
    return plan_source(config.source, images=config.takes_images, written=written_places(config))


def list_job_source(config: JobConfig) -> dict[Place, FoundFile]:
    """List the files of a job's source as they are now: see ``SourcePlan.listed``; raises as ``plan_source`` does."""
    return list_source(config.source, images=config.takes_images, written=written_places(config))


def refuse_own_collection(config: JobConfig, source: SourcePlan) -> None:
    """Raise ConfigError where a sink would write to the collection that is read, or to the folder it is in.

    A job that adds vectors in place is to do so.
    """
    if config.adds_vectors:
        return
    read = source.collection
    for number, sink in enumerate(config.sink):
        if read is None or not isinstance(sink, QdrantSinkConfig):
            continue
        folder = sink.path is not None and read.path is not None and named_place(sink.path) == named_place(read.path)
        same_server = sink.url is not None and read.url is not None and server_of(sink.url) == server_of(read.url)
        if folder or (same_server and sink.searched in {read.name, *read.aliases}):
            what = "the folder" if folder else f"the collection {read.name}"
            raise ConfigError(
                f"sink.{number}: it writes to {what} that source.qdrant reads ({read.title}); name another "
                f"{'path' if folder else 'collection'}: searchers go on with the old vectors until an alias is switched"
            )


def refuse_unwritable(config: JobConfig) -> None:
    """Raise ConfigError where a sink, the report or dead letters cannot be written to a disk; changes nothing.

    What only writing tells, as in an object store, shows when it is written.
    """
    places = [(f"sink.{number}.path", sink.folder) for number, sink in enumerate(config.sink)]
    places += [(dead_letters_key(config), config.dead_letters), (DELETED, config.deleted_points)]
    folders = [(key, local_path(path)) for key, path in places if path is not None]
    report = local_path(config.report)
    why = None if report is None else "it is a folder" if Path(report).is_dir() else _why_unwritable(Path(report))
    if why is not None:
        raise ConfigError(f"report: cannot write {config.report}: {why}")
    for key, folder in folders:
        if folder is not None and (why := _why_unwritable(Path(folder), folder=True)) is not None:
            raise ConfigError(f"{key}: cannot write to {folder}: {why}")


def _why_unwritable(path: Path, *, folder: bool = False) -> str | None:
    """Say why a file, or files of a folder, cannot be made there; None where nothing speaks against it."""
    there = next((one for one in (path, *path.parents) if os.path.lexists(one)), None)
    if there is None or (there == path and not folder):
        return None if there is None or os.access(there, os.W_OK) else "it may not be written to"
    if not there.is_dir():
        return f"{there} is no folder" if there != path else "it is no folder"
    return None if os.access(there, os.W_OK | os.X_OK) else f"the folder {there} may not be written to"


def dead_letters_key(config: JobConfig) -> str:
    """Name the key that says where dead letters go, or would say it."""
    return "errors.path" if config.errors.path else LETTERS


def written_places(config: JobConfig) -> list[Written]:
    """List the places of sinks, dead letters, report, downloaded models and evaluations, with the keys to change."""
    places = [
        Written(f"sink.{number}.path", sink.folder)
        for number, sink in enumerate(config.sink)
        if sink.folder is not None
    ]
    places += [Written(dead_letters_key(config), config.dead_letters), Written("report", config.report)]
    places.append(Written(PAGE, config.report_page))
    if config.deleted_points is not None:
        places.append(Written(DELETED, config.deleted_points))
    if config.cache is not None:
        places.append(Written("cache.path", config.cache.path))
    # Without a home, the cache may be nowhere.
    with suppress(ModelNotFoundError):
        places.append(Written("the cache of models (FLEETEMBED_CACHE_DIR)", str(cache_root()), foreign=True))
    places += [
        Written(f"embeddings.{number}.cache_dir", embedding.cache_dir, foreign=True)
        for number, embedding in enumerate(config.embeddings)
        if embedding.cache_dir is not None
    ]
    return [*places, Written("fleetembed evaluate --out", EVALUATIONS, foreign=True)]
