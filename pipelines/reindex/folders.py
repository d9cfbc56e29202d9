"""Reindexing into a folder, which has no alias: it is filled from a collection, and held against that one."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from rich.console import Console

from pipelines.config.collection import CollectionConfig
from pipelines.config.job import JobConfig
from pipelines.embed.checked import JobEmbedders
from pipelines.errors import ConfigError, SinkError
from pipelines.job_plan import JobPlan
from pipelines.pipeline import EmbeddingPipeline
from pipelines.reindex.leftovers import Leftover
from pipelines.reindex.status import Status
from pipelines.reindex.verify.copies import Original, copy_looks
from pipelines.reindex.verify.result import Verification
from pipelines.reindex.verify.subject import Subject
from pipelines.reindex.verify.verify import verify
from pipelines.run.report.report import RunReport
from pipelines.sinks.qdrant.client import open_client
from pipelines.sinks.qdrant.collection import Collection
from pipelines.sinks.qdrant.config import QdrantSinkConfig
from pipelines.sinks.qdrant.folder_engine import engine_of
from pipelines.sources.qdrant.connection import connected, read_key
from pipelines.sources.qdrant.plan import source_collection


def folder_sink(config: JobConfig) -> QdrantSinkConfig | None:
    """Return the folder that a job fills, where none of its sinks has an alias; raises ConfigError for several."""
    sinks = [sink for sink in config.sink if isinstance(sink, QdrantSinkConfig)]
    folders = [sink for sink in sinks if sink.path is not None]
    if not folders or any(sink.alias is not None for sink in sinks):
        return None
    if len(folders) > 1:
        raise ConfigError(f"sink: {len(folders)} sinks are Qdrant folders, and reindexing fills one; leave one out")
    return folders[0]


class FolderReindexing:
    """A collection that a job reads, and the folder that it fills; has the methods of ``Reindexing``.

    Those that are about an alias raise ConfigError, which says what to do with folders. Raises ConfigError for a job
    that reads no collection.
    """

    def __init__(
        self, config: JobConfig, sink: QdrantSinkConfig, say: Callable[[str], None] = lambda line: None
    ) -> None:
        """Take a job and its folder; ``say`` hears what is to be done after a run."""
        section = config.source.qdrant
        if section is None:
            raise ConfigError(
                f"source: reindexing into a folder ({sink.path}) copies a collection, and source.qdrant names none; "
                "`fleetembed embed` fills a folder from files"
            )
        self._config, self._sink, self._section, self._say = config, sink, section, say
        self._made = JobEmbedders()

    def __enter__(self) -> FolderReindexing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open between two commands: one process at a time has a folder."""

    def plan(self) -> JobPlan:
        """Plan a run; raises what ``run`` would raise before it embeds anything."""
        return EmbeddingPipeline(self._config).plan()

    def describe(self) -> list[str]:
        """Say what a run does, and what is to be done after it."""
        how = "no model runs" if self._config.source.brings_vectors else "its texts are embedded anew"
        return [f"a run copies {self._section.title} in a single pass ({how})", *self._next()]

    def run(self, console: Console) -> RunReport:
        """Fill the folder, or go on with it, in a single pass; raises as ``EmbeddingPipeline.run`` does."""
        report = EmbeddingPipeline(self._config, embedders=self._made).run(console=console)
        for line in self._next():
            self._say(line)
        return report

    def verify(self, on_check: Callable[[str, float], None] = lambda title, seconds: None) -> Verification:
        """Hold the folder's collection against the one it was copied from, point by point.

        ``on_check`` hears what is looked at next, and how many seconds after the start.
        """
        if engine_of(self._sink.path or "") is None:
            raise SinkError(f"{self._sink.title} is not there yet; run `fleetembed reindex run` to its end first")
        facts, embedders = self._made.facts(self._config), self._made.load(self._config)
        name = source_collection(self._config.source) or self._section.collection
        with (
            connected(self._section, read_key(self._section)) as old,
            closing(open_client(self._sink)) as client,
        ):
            new = Collection(client, self._sink)
            subject = Subject(self._config, self._sink, client, new, None, None, facts, embedders)
            original = Original(old, name, self._section)
            return verify(subject, on_check, copy_looks(original, subject), beside=self._section.title)

    def switch(self, *, dry_run: bool = False, unverified: bool = False) -> list[str]:
        """See above: there is no alias."""
        self._refuse("switch", "nothing was switched", self._next())

    def rollback(self, *, dry_run: bool = False) -> list[str]:
        """See above: there is no alias."""
        self._refuse("rollback", "nothing was rolled back", ["what was read is as it was: let searchers open that"])

    def status(self) -> Status:
        """See above: there is no alias."""
        self._refuse("status", "there is no alias to tell of", ["`fleetembed reindex plan` says what a run does"])

    def leftovers(self) -> list[Leftover]:
        """See above: there is no alias."""
        self._refuse("clean", "nothing was cleaned", ["delete the folder that nobody needs any more"])

    def why_none_left(self) -> str:
        """See above: there is no alias."""
        self._refuse("clean", "nothing was cleaned", [])

    def clean(self, found: Sequence[Leftover]) -> Iterator[str]:
        """See above: there is no alias."""
        self._refuse("clean", "nothing was cleaned", [])

    def _refuse(self, command: str, what: str, then: list[str]) -> NoReturn:
        said = "; ".join([f"{what}: a folder ({self._sink.path}) has no alias, which only a server has", *then])
        raise ConfigError(f"reindex {command}: {said}")

    def _next(self) -> list[str]:
        return ["after `fleetembed reindex verify` " + _takeover(self._section, self._sink)]


def _takeover(old: CollectionConfig, new: QdrantSinkConfig) -> str:
    """Say how searchers come to ask the new folder."""
    give = f"give searchers the path {new.path}"
    if old.path is None:
        return give
    here, there = (shlex.quote(str(Path(path or ""))) for path in (old.path, new.path))
    other = "" if old.collection == new.collection else f", whose collection is {new.collection}"
    return f"{give}{other}; or end what has {old.path} open, and rename: mv {here} {here}.before && mv {there} {here}"
