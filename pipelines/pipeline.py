"""A job to look at and to run: plans it, shows a preview of it, or carries it out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from rich.console import Console

from pipelines.config.file import load_config
from pipelines.config.job import JobConfig
from pipelines.embed.average_length import (
    Lengths,
    held_lengths,
    length_embedders,
    length_notices,
    measuring,
    numbers,
    with_lengths,
    with_stand_ins,
)
from pipelines.embed.checked import JobEmbedders, model_facts, notices
from pipelines.embed.documents import read_rows
from pipelines.errors import SinkError
from pipelines.reindex.names import with_collections
from pipelines.rows import IDENTIFIED_SCHEMA, IMAGE_COLUMN
from pipelines.run.deletions import plan_deletions
from pipelines.run.placement.plan import plan_placement
from pipelines.run.report.report import RunReport
from pipelines.run.report.startup import IMPORTS, StartUp
from pipelines.run.run import STOPPING, Run
from pipelines.sinks.base import Sink, SinkSection
from pipelines.sinks.factory import make_sink
from pipelines.sinks.lease.lease import held_notices
from pipelines.sources.named_columns import unmarked_notice
from pipelines.stopping import stoppable
from pipelines.submitted import refuse_in_submitted
from pipelines.urls import without_credentials
from pipelines.written import plan_job_source, refuse_own_collection

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("fleetembed")


@dataclass(frozen=True, repr=False)
class JobPlan:
    """What a run would do: files it would read, vectors it would make, places it would write to.

    ``skipped_files`` counts files of a kind that no reader knows. ``fingerprint`` is None where the run would first
    measure an average length, which is part of it. ``placement`` tells in lines how the pools would be placed on the
    cluster that the job joins; empty where it joins none; ``deletions`` what would be deleted. ``report`` and
    ``dead_letters`` are places, without credentials. Where a ``collection`` is read in the place of files, ``points``
    are those read of it.
    """

    files: int
    skipped_files: int
    bytes: int
    fingerprint: str | None
    models: dict[str, dict[str, Any]]
    sinks: list[dict[str, Any]]
    report: str
    dead_letters: str
    notices: list[str] = field(default_factory=list)
    placement: list[str] = field(default_factory=list)
    collection: str | None = None
    points: int | None = None
    deletions: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        from pipelines.notebook.plan import plan_view
        from pipelines.notebook.text import to_text

        return to_text(plan_view(self))

    def _repr_html_(self) -> str:
        from pipelines.notebook.html import to_html
        from pipelines.notebook.plan import plan_view

        return to_html(plan_view(self))


class EmbeddingPipeline:
    """One job, from a notebook or a script.

    ``EmbeddingPipeline.from_config("job.yaml").run()`` does what ``fleetembed embed --config job.yaml`` does.
    """

    def __init__(
        self,
        config: JobConfig,
        *,
        embedders: JobEmbedders | None = None,
        make_sink: Callable[[SinkSection], Sink] = make_sink,
    ) -> None:
        self.config = config
        self._embedders = embedders or JobEmbedders()
        self._make_sink = make_sink

    @classmethod
    def from_config(
        cls, job: str | Path | dict[str, Any] | JobConfig, overrides: Sequence[str] = ()
    ) -> EmbeddingPipeline:
        """Check a job's configuration (a YAML file or a dict); raises ConfigError that names each wrong key."""
        return cls(load_config(job, overrides))

    def plan(self) -> JobPlan:
        """Look at source, models, sinks and the cluster that the job would join, and change nothing.

        Raises the FleetembedError that ``run`` would raise before it embeds anything.
        """
        refuse_in_submitted(self.config)
        source = plan_job_source(self.config)
        RunReport.refuse_foreign_file(self.config.report)
        self._embedders.facts(with_stand_ins(self.config))
        embedders = self._embedders
        sinks: list[Sink]
        if self.config.adds_vectors:
            # Imported late: qdrant-client takes a second.
            from pipelines.reindex.add_vector import prepare_addition

            addition = prepare_addition(self.config, embedders)
            named, embedders, sinks = addition.config, addition.embedders(), [addition.make_sink()]
        else:
            named = with_collections(self.config, embedders)
            refuse_own_collection(named, source)
            sinks = [self._make_sink(sink) for sink in named.sink]
        held = held_lengths(named, sinks)
        config = with_lengths(named, numbers(held))
        facts = embedders.facts(with_stand_ins(config))
        facts = replace(facts, chunked=facts.chunked or source.of_chunks, copied_from=source.copied_from)
        unmarked = [] if source.unmarked is None else [unmarked_notice(config.source, source.unmarked, read=False)]
        return JobPlan(
            files=source.files,
            skipped_files=source.skipped_files,
            bytes=source.bytes,
            fingerprint=None if measuring(config) else facts.fingerprint,
            models=model_facts(config, facts),
            notices=[
                *source.notices,
                *unmarked,
                *notices(config, source.splits),
                *length_notices(config, held),
                *held_notices(sinks),
            ],
            sinks=[
                {"type": config.type, "place": config.place, **sink.check(facts)}
                for config, sink in zip(named.sink, sinks, strict=True)
            ],
            report=without_credentials(config.report),
            dead_letters=without_credentials(config.dead_letters),
            placement=plan_placement(config),
            collection=None if source.collection is None else source.collection.title,
            points=None if source.collection is None else source.collection.points,
            deletions=plan_deletions(config),
        )

    def preview(self, n: int = 5) -> pd.DataFrame:
        """Embed the first ``n`` rows in this process and write nothing; a frame with all columns of a row.

        An average length that is to be measured is the one that the job's place holds, else that of these rows.
        """
        first = [IDENTIFIED_SCHEMA.empty_table(), *self._first_rows(n)]
        rows = pa.concat_tables(first, promote_options="default").slice(0, n)
        for embedder in self._embedders.load(self._with_preview_lengths(rows)):
            rows = embedder.embed(rows)
        frame: pd.DataFrame = rows.drop_columns([IMAGE_COLUMN]).to_pandas()
        return frame

    def run(self, *, console: Console | None = None, began: float | None = None) -> RunReport:
        """Carry the job out and return its report; the report's file is written also when the run fails.

        Raises the FleetembedError that stopped the run, or KeyboardInterrupt after Ctrl-C or SIGTERM: what the sinks
        acknowledged stays, and the next run goes on from there. ``began`` is when the command was given, by
        ``time.monotonic``, from where its seconds count; else they count from now.
        """
        startup = StartUp(time.monotonic() if began is None else began)
        if began is not None:
            startup.end(IMPORTS)
        console = console or Console(stderr=True)
        if self.config.adds_vectors:
            from pipelines.reindex.add_vector import add_vectors

            return add_vectors(self.config, self._embedders, console)
        # Models may be downloaded.
        with stoppable(*STOPPING):
            config = with_collections(self.config, self._embedders)
        sinks = [self._make_sink(sink) for sink in config.sink]
        return Run(config, self._embedders, console, sinks, startup).carry_out()

    def _first_rows(self, n: int) -> Iterator[pa.Table]:
        source = plan_job_source(self.config)
        missing = n
        for _, rows in read_rows(((split, None) for split in source.splits), self.config, block_rows=n):
            yield rows
            missing -= rows.num_rows
            if missing <= 0:
                return

    def _with_preview_lengths(self, rows: pa.Table) -> JobConfig:
        if not measuring(self.config):
            return self.config
        with_collections(self.config, self._embedders)
        self._embedders.load(with_stand_ins(self.config))
        try:
            held = held_lengths(self.config, [make_sink(sink) for sink in self.config.sink])
        except SinkError as error:
            log.warning("the average length is that of the rows shown, because %s", error)
            held = {}
        config = with_lengths(self.config, numbers(held))
        shown = {embedder.name: Lengths.of(embedder.scored_lengths(rows)) for embedder in length_embedders(config)}
        return with_stand_ins(
            with_lengths(config, {name: found.average for name, found in shown.items() if found.texts})
        )
