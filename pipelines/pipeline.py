"""A job to look at and to run: plans it, shows a preview of it, or carries it out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from rich.console import Console

from pipelines.config.file import load_config
from pipelines.config.job import JobConfig
from pipelines.embed.average_length import (
    Held,
    Lengths,
    held_lengths,
    length_embedders,
    length_notices,
    measuring,
    numbers,
    with_lengths,
    with_stand_ins,
)
from pipelines.embed.checked import JobEmbedders, cut_chunks, model_facts, notices
from pipelines.embed.documents import read_rows
from pipelines.embed.payload_sample import learn_payloads
from pipelines.errors import ConfigError, SinkError
from pipelines.job_plan import JobPlan, figures_of_source
from pipelines.one_line import counted
from pipelines.reindex.names import with_collections
from pipelines.rows import IDENTIFIED_SCHEMA, IMAGE_COLUMN
from pipelines.run.deletions import plan_deletions
from pipelines.run.given import GivenVectors
from pipelines.run.given_arrays import ArraysOfVectors, arrays_of, chosen_name, vector_columns
from pipelines.run.given_source import plan_without_reading, read_by_ray, with_source
from pipelines.run.phases import tell
from pipelines.run.placement.plan import plan_placement
from pipelines.run.progress import showing_phases
from pipelines.run.report.report import RunReport
from pipelines.run.report.startup import IMPORTS, StartUp
from pipelines.run.run import STOPPING, Run
from pipelines.run.stages.give import given_schema
from pipelines.sinks.base import Sink, SinkSection
from pipelines.sinks.factory import make_sink
from pipelines.sinks.lease.lease import held_notices
from pipelines.sources import SourcePlan
from pipelines.sources.named_columns import unmarked_notice
from pipelines.stopping import stoppable
from pipelines.submitted import refuse_in_submitted
from pipelines.urls import without_credentials
from pipelines.written import plan_job_source, refuse_own_collection, refuse_unwritable

if TYPE_CHECKING:
    import pandas as pd
    from ray.data import Dataset

log = logging.getLogger("fleetembed")


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
        cls, job: str | Path | dict[str, Any] | JobConfig, overrides: Sequence[str] = (), *, source: Any = None
    ) -> EmbeddingPipeline:
        """Check a job's configuration (a YAML file or a dict); raises ConfigError that names each wrong key.

        ``source`` is data that is read in the place of what the job's section ``source`` names, which may be left out
        then; its other keys (id, text, payload, limit, ...) hold. It is a ``ray.data.Dataset``, a pyarrow Table,
        RecordBatch or RecordBatchReader, a pandas or polars frame, a Hugging Face ``Dataset``, whatever else tells its
        columns by ``__arrow_c_stream__``, or a list of dicts or of texts.

        >>> job = {"embeddings": [{"name": "bm25", "model": "Qdrant/bm25"}], "sink": {"type": "parquet", "path": "out"}}
        >>> pipeline = EmbeddingPipeline.from_config(job, source=["a text", "another one"])
        >>> pipeline.plan().rows
        2
        """
        config = load_config(job, overrides, needs_place=source is None)
        return cls(config if source is None else with_source(config, source))

    def __repr__(self) -> str:
        vectors = ", ".join(name for one in self.config.embeddings for name in one.vector_names)
        sinks = ", ".join(f"{sink.type} {sink.place}" for sink in self.config.sink)
        return f"EmbeddingPipeline(corpus {self.config.corpus!r}; vectors: {vectors}; sinks: {sinks or 'none'})"

    def plan(self) -> JobPlan:
        """Look at source, models, sinks and the cluster that the job would join, and change nothing.

        Raises the FleetembedError that ``run`` would raise before it embeds anything. A job without sinks is planned
        as ``embed`` takes it.
        """
        source = plan_without_reading(self.config)
        if self.config.sink:
            refuse_in_submitted(self.config)
            refuse_unwritable(self.config)
            RunReport.refuse_foreign_file(self.config.report)
        named, embedders, sinks = self._named(source)
        held = held_lengths(named, sinks)
        config = with_lengths(named, numbers(held))
        facts = embedders.facts(with_stand_ins(config))
        facts = replace(facts, chunked=facts.chunked or source.of_chunks, copied_from=source.copied_from)
        learned = learn_payloads(sinks, config, source.splits, facts)
        unmarked = [] if source.unmarked is None else [unmarked_notice(config.source, source.unmarked, read=False)]
        return JobPlan(
            **figures_of_source(source),
            fingerprint=None if measuring(config) else facts.fingerprint,
            models=model_facts(config, facts),
            notices=[
                *source.notices,
                *unmarked,
                *notices(config, source.splits),
                *cut_chunks(config, embedders.load(with_stand_ins(config))),
                *length_notices(config, held),
                *learned,
                *held_notices(sinks),
            ],
            sinks=[
                {"type": config.type, "place": config.place, **sink.check(facts)}
                for config, sink in zip(named.sink, sinks, strict=True)
            ],
            report=without_credentials(config.report),
            dead_letters=without_credentials(config.dead_letters),
            placement=plan_placement(config),
            deletions=plan_deletions(config),
        )

    def _named(self, source: SourcePlan) -> tuple[JobConfig, JobEmbedders, list[Sink]]:
        """Look at the models; give the job with the names of its collections, its embedders and its sinks."""
        self._embedders.facts(with_stand_ins(self.config))
        if self.config.adds_vectors:
            # Imported late: qdrant-client takes a second.
            from pipelines.reindex.add_vector import prepare_addition

            addition = prepare_addition(self.config, self._embedders)
            return addition.config, addition.embedders(), [addition.make_sink()]
        named = with_collections(self.config, self._embedders)
        refuse_own_collection(named, source)
        return named, self._embedders, [self._make_sink(sink) for sink in named.sink]

    def preview(self, n: int = 5, *, all_columns: bool = False) -> pd.DataFrame:
        """Embed the first ``n`` rows in this process and write nothing; a frame with the columns of ``embed``.

        With ``all_columns`` it has what a row has on its way beside them, such as hashes and where it was read. An
        average length that is to be measured is the one that the job's place holds, else that of these rows.
        """
        first = [IDENTIFIED_SCHEMA.empty_table(), *self._first_rows(n)]
        rows = pa.concat_tables(first, promote_options="default").slice(0, n)
        embedders = self._embedders.load(self._with_preview_lengths(rows))
        for embedder in embedders:
            rows = embedder.embed(rows)
        if all_columns:
            rows = rows.drop_columns([IMAGE_COLUMN])
        else:
            schema = given_schema({}, chunked=self.config.chunking is not None)
            vectors = [name for name in rows.column_names if name not in IDENTIFIED_SCHEMA.names]
            rows = rows.select([*schema.names[:-1], *vectors, "error"])
        frame: pd.DataFrame = rows.to_pandas()
        return frame

    def embed(self) -> Dataset:
        """Give the rows with their vectors as a Ray dataset, which is lazy; no sink is needed, and none is written to.

        Its columns are ``id``, ``document_id``, ``text``, ``payload`` (JSON), one of Arrow type a vector
        (`embedders.arrow`), and ``error``, null where all went well; with chunking also ``chunk_no``, ``chunk_start``,
        ``chunk_end`` and ``chunk_count``. A row that cannot be read or embedded comes with its error and without
        vectors. The order of rows is Ray Data's. Sources and models are looked at now, and where an average length is
        to be measured, the source is read for it; all else happens when the dataset is consumed, and each time that it
        is: ``materialize()`` keeps what was made. A Ray dataset as source, and what ``source.ray`` reads, is read now,
        into Ray's object store. Raises the FleetembedError that a run would raise before it embeds.

            vectors = EmbeddingPipeline.from_config(job).embed()
            vectors.filter(lambda row: row["error"] is None).write_parquet("output/vectors")
        """
        if self.config.compute.engine == "local":
            raise ConfigError(
                "compute.engine: local runs in this process alone, and embed() gives a dataset of Ray; leave the key "
                "out, or take to_arrow(), to_pandas() or to_numpy()"
            )
        # Imported late: all else that does without Ray need not wait for it.
        from pipelines.run.cluster.connection import have_ray

        have_ray(self.config.compute)
        from pipelines.run.cluster.given import given_dataset

        with self._given(self.config) as given:
            return given_dataset(given)

    def to_arrow(self, *, console: Console | None = None) -> pa.Table:
        """Embed all rows and give them as a table with the columns of ``embed``, in the order of the source.

        For what fits in memory. The engine is the one that a run takes: this process for few rows, else Ray; progress
        goes to ``console``, which is standard error unless given. Raises the FleetembedError that stopped it, as
        TooManyErrorsError where more rows have an error than ``errors.max_rate`` allows.
        """
        return self._table(self.config, console)

    def to_pandas(self, *, console: Console | None = None) -> pd.DataFrame:
        """Embed all rows as ``to_arrow`` does and give them as a frame; dense vectors are NumPy arrays."""
        frame: pd.DataFrame = self.to_arrow(console=console).to_pandas()
        return frame

    def to_numpy(self, vector: str | None = None, *, console: Console | None = None) -> ArraysOfVectors:
        """Embed all rows as ``to_arrow`` does, and give one vector of theirs as arrays, a row each.

        ``vector`` is its name, which may be left out where the job makes one alone; other embeddings do not run.
        Dense vectors come as one matrix (rows, dim), NaN at a row with an error; sparse ones as
        `embedders.SparseMatrix`, token vectors as `embedders.token_vectors.TokenVectors`, both with nothing at such a
        row. Raises ValueError for a name that no vector has.
        """
        config = self.config
        if not config.source.brings_vectors:
            name = chosen_name(vector, config.vector_names)
            makers = [one for one in config.embeddings if name in one.vector_names]
            config = config.model_copy(update={"embeddings": makers})
        table = self._table(config, console)
        return arrays_of(table, chosen_name(vector, vector_columns(table)))

    def run(self, *, console: Console | None = None, began: float | None = None) -> RunReport:
        """Carry the job out and return its report; the report's file is written also when the run fails.

        Raises the FleetembedError that stopped the run, or KeyboardInterrupt after Ctrl-C or SIGTERM: what the sinks
        acknowledged stays, and the next run goes on from there. A job without a sink is a ConfigError. ``began`` is
        when the command was given, by ``time.monotonic``, from where its seconds count; else they count from now.
        """
        self.config.refuse_without_sink()
        startup = StartUp(time.monotonic() if began is None else began)
        if began is not None:
            startup.end(IMPORTS)
        console = console or Console(stderr=True)
        with showing_phases(console):
            tell(f"looking at {counted(len(self.config.embeddings), 'model')}, the source and the sinks")
            if self.config.adds_vectors:
                from pipelines.reindex.add_vector import add_vectors

                return add_vectors(self.config, self._embedders, console)
            # Models may be downloaded.
            with stoppable(*STOPPING):
                config = with_collections(self.config, self._embedders)
            sinks = [self._make_sink(sink) for sink in config.sink]
            return Run(config, self._embedders, console, sinks, startup).carry_out()

    def _table(self, config: JobConfig, console: Console | None) -> pa.Table:
        console = console or Console(stderr=True)
        with showing_phases(console), stoppable(*STOPPING):
            tell(f"looking at {counted(len(config.embeddings), 'model')} and the source")
            with self._given(config) as given:
                return given.table(console)

    @contextmanager
    def _given(self, config: JobConfig) -> Iterator[GivenVectors]:
        """Look at models and source for what is given and not written; raises as a run does."""
        self._embedders.facts(with_stand_ins(config))
        with read_by_ray(config) as read:
            source = plan_job_source(read)
            if measuring(read):
                read = with_lengths(read, numbers(self._held_lengths(read, "source")))
            yield GivenVectors(read.model_copy(update={"sink": []}), source, self._embedders)

    def _held_lengths(self, config: JobConfig, rows: str) -> dict[str, Held]:
        """Ask the places that the job names for average lengths; a place that does not answer holds none."""
        try:
            return held_lengths(config, [make_sink(sink) for sink in config.sink])
        except SinkError as error:
            log.warning("the average length is that of the %s, because %s", rows, error)
            return {}

    def _first_rows(self, n: int) -> Iterator[pa.Table]:
        missing = n
        with read_by_ray(self.config, most=n) as config:
            source = plan_job_source(config)
            for _, rows in read_rows(((split, None) for split in source.splits), config, block_rows=n):
                yield rows
                missing -= rows.num_rows
                if missing <= 0:
                    return

    def _with_preview_lengths(self, rows: pa.Table) -> JobConfig:
        if not measuring(self.config):
            return self.config
        with_collections(self.config, self._embedders)
        self._embedders.load(with_stand_ins(self.config))
        config = with_lengths(self.config, numbers(self._held_lengths(self.config, "rows shown")))
        shown = {embedder.name: Lengths.of(embedder.scored_lengths(rows)) for embedder in length_embedders(config)}
        return with_stand_ins(
            with_lengths(config, {name: found.average for name, found in shown.items() if found.texts})
        )
