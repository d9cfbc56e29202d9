"""Sources that are no files: data that a user gives in Python, and what Ray reads before a job has documents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pipelines.config.job import JobConfig
from pipelines.errors import ConfigError
from pipelines.run.engine import Engine
from pipelines.run.placement.plan import joins_cluster
from pipelines.sources import SourcePlan
from pipelines.sources.memory.conversion import is_ray_dataset, to_data
from pipelines.sources.memory.plan import check_known_columns
from pipelines.sources.memory.unread import GivenDataset, look_at
from pipelines.sources.split import PlannedRows
from pipelines.written import plan_job_source


def with_source(config: JobConfig, source: Any) -> JobConfig:
    """Let a job read what a user gives in Python; raises ConfigError for what holds no rows."""
    section = config.source
    for key in ("qdrant", "vectors"):
        if getattr(section, key) is not None:
            raise ConfigError(
                f"source.{key}: the job reads vectors or points of its own, and source= gives other data; leave "
                f"source.{key} out"
            )
    if is_ray_dataset(source):
        given = section.with_unread(GivenDataset(source))
    else:
        given = section.with_data(to_data(source, section.text))
    return config.model_copy(update={"source": given})


def plan_without_reading(config: JobConfig) -> SourcePlan:
    """Plan a job's source; of what Ray is to read, tell what it says of itself.

    A reader of Ray is asked where a Ray runs that the job joins; else none is started for it. Raises ConfigError, and
    SourceError for a column that is not there.
    """
    plan, unread = plan_job_source(config), config.source.unread
    if unread is None:
        return plan
    unread.check()
    if isinstance(unread, GivenDataset):
        found = look_at(unread.given, unread.title)
    elif joins_cluster(config.compute):
        # Imported late, here and below: other sources do without Ray.
        from pipelines.run.cluster.connection import connect
        from pipelines.run.cluster.reading import ask_reader

        with connect(config.compute):
            found = ask_reader(unread)
    else:
        from pipelines.run.cluster.reading import refuse_reader

        refuse_reader(unread)
        found = PlannedRows(unread.title)
    check_known_columns(config.source, found)
    return replace(plan, data=found)


@contextmanager
def read_by_ray(config: JobConfig, *, most: int | None = None) -> Iterator[JobConfig]:
    """Have Ray read the documents, if the job's source wants that, into its object store, which spills to disk.

    Gives the job with these as its source, and keeps the Ray that was started or joined for it to the end of the
    block. With ``most``, no more rows are read. Raises SourceError.
    """
    if config.source.unread is None:
        yield config
        return
    from pipelines.run.cluster.connection import connect

    unread = config.source.unread
    unread.check()
    with connect(config.compute):
        # Ray Data, whose import takes a second, while Ray's processes get ready.
        from pipelines.run.cluster.reading import read_dataset

        data = read_dataset(unread, config.source, most)
        yield config.model_copy(update={"source": config.source.with_data(data)})


def with_held_data(config: JobConfig, engine: Engine) -> JobConfig:
    """Have an engine hold the data that a user gave, if any, where its workers reach them."""
    data = config.source.data
    if data is None:
        return config
    return config.model_copy(update={"source": config.source.with_data(engine.hold(data))})
