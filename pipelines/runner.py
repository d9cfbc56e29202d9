"""Runs a job: plans it, shows a preview of it, or carries it out and reports."""

from __future__ import annotations

import logging
import secrets
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd
import pyarrow as pa
from rich.console import Console

from embedders.errors import FleetembedError
from pipelines.chunking import chunk_table, load_tokenizer
from pipelines.config import JobConfig
from pipelines.config_file import load_config
from pipelines.embedding import RowEmbedder
from pipelines.errors import ConfigError, TooManyErrorsError
from pipelines.job_facts import checked_embedder, job_facts, model_facts, notices
from pipelines.preflight import Placement, place_stages
from pipelines.progress import ProgressView, choose_view
from pipelines.report import RunReport
from pipelines.schema import CHUNK_SCHEMA, IMAGE_COLUMN, identify
from pipelines.sinks import make_sink
from pipelines.sinks.base import JobFacts, Sink
from pipelines.sources import SourcePlan, plan_source, read_split
from pipelines.tally import STARTED_AT

log = logging.getLogger("fleetembed")

SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class JobPlan:
    """What a run would do: files it would read, vectors it would make, places it would write to.

    ``skipped_files`` counts files of a kind that no reader knows.
    """

    files: int
    skipped_files: int
    bytes: int
    fingerprint: str
    models: dict[str, dict[str, Any]]
    sinks: list[dict[str, Any]]
    notices: list[str] = field(default_factory=list)


class EmbeddingPipeline:
    """One job, from a notebook or a script.

    ``EmbeddingPipeline.from_config("job.yaml").run()`` does what ``python jobs/embed_corpus.py --config job.yaml``
    does.
    """

    def __init__(self, config: JobConfig) -> None:
        self.config = config
        self._embedders: list[RowEmbedder] = []

    @classmethod
    def from_config(
        cls, job: str | Path | dict[str, Any] | JobConfig, overrides: Sequence[str] = ()
    ) -> EmbeddingPipeline:
        """Check a job's configuration (a YAML file or a dict); raises ConfigError that names each wrong key."""
        return cls(load_config(job, overrides))

    def plan(self) -> JobPlan:
        """Look at source, models and sinks, and change nothing.

        Raises SourceError, ModelNotFoundError or SinkError where ``run`` would.
        """
        source = plan_source(self.config.source, images=self.config.takes_images)
        facts = self._facts()
        sinks = [make_sink(sink) for sink in self.config.sink]
        return JobPlan(
            files=source.files,
            skipped_files=source.skipped_files,
            bytes=sum(split.bytes for split in source.splits),
            fingerprint=facts.fingerprint,
            models=model_facts(self.config, facts),
            notices=notices(self.config),
            sinks=[
                {"type": config.type, "place": config.place, **sink.check(facts)}
                for config, sink in zip(self.config.sink, sinks, strict=True)
            ],
        )

    def preview(self, n: int = 5) -> pd.DataFrame:
        """Embed the first ``n`` rows in this process and write nothing; a frame with all columns of a row."""
        config = self.config
        table = pa.concat_tables([CHUNK_SCHEMA.empty_table(), *self._first_rows(n)]).slice(0, n)
        rows = identify(table, config.corpus, chunked=config.chunking is not None)
        for embedder in self._load():
            rows = embedder.embed(rows)
        frame: pd.DataFrame = rows.drop_columns([IMAGE_COLUMN]).to_pandas()
        return frame

    def run(self, *, console: Console | None = None) -> RunReport:
        """Carry the job out and return its report; the report's file is written also when the run fails.

        Raises the FleetembedError that stopped the run, or KeyboardInterrupt after Ctrl-C or SIGTERM: what the sinks
        acknowledged stays, and the next run goes on from there.
        """
        return _Run(self, console or Console(stderr=True)).carry_out()

    def _first_rows(self, n: int) -> Iterator[pa.Table]:
        chunking = self.config.chunking
        tokenizer = load_tokenizer(chunking.tokenizer) if chunking else None
        missing = n
        for split in plan_source(self.config.source, images=self.config.takes_images).splits:
            for table in read_split(split, self.config.source, block_rows=n):
                chunks = chunk_table(table, chunking, tokenizer)
                yield chunks
                missing -= chunks.num_rows
                if missing <= 0:
                    return

    def _load(self) -> list[RowEmbedder]:
        for number, embedding in list(enumerate(self.config.embeddings))[len(self._embedders) :]:
            self._embedders.append(checked_embedder(f"embeddings.{number}", embedding))
        return self._embedders

    def _facts(self) -> JobFacts:
        return job_facts(self.config, self._load())


class _Run:
    """One carrying out of a job: its clock, report and sinks."""

    def __init__(self, pipeline: EmbeddingPipeline, console: Console) -> None:
        self._pipeline, self._console = pipeline, console
        self._config = pipeline.config
        self._started = time.monotonic()
        self._started_at = time.time()
        now = datetime.now(timezone.utc)
        self._run_id = f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        self._report = RunReport(self._run_id, self._config.corpus, started=now.isoformat(timespec="seconds"))
        self._report.dead_letters = self._config.dead_letters
        self._sinks: list[Sink] = [make_sink(sink) for sink in self._config.sink]

    def carry_out(self) -> RunReport:
        report = self._report
        facts = self._pipeline._facts()
        try:
            report.save(self._config.report)
        except OSError as error:
            raise ConfigError(f"report: cannot write {self._config.report}: {error.strerror}") from None
        try:
            with _sigterm_interrupts():
                self._embed_all(facts)
            report.status = "complete"
        except (KeyboardInterrupt, SystemExit):
            # SystemExit: a SIGTERM while Ray starts meets Ray's own handler.
            report.status, report.error = "interrupted", "stopped by a signal"
            raise KeyboardInterrupt from None
        except BaseException as error:
            report.status, report.error = "failed", str(error)
            raise
        finally:
            report.seconds = round(time.monotonic() - self._started, 2)
            report.save(self._config.report)
            if report.documents is not None:
                report.show(self._console)
        return report

    def _embed_all(self, facts: JobFacts) -> None:
        source = plan_source(self._config.source, images=self._config.takes_images)
        self._report.fingerprint = facts.fingerprint
        self._report.models = model_facts(self._config, facts)
        self._report.notices = notices(self._config)
        for sink in self._sinks:
            sink.check(facts)

        # Ray is imported late: planning and previews do without it, and so do errors of the configuration.
        from pipelines import cluster

        with cluster.connect(self._config.compute) as machines, cluster.plain_errors():
            self._report.startup_seconds = round(time.monotonic() - self._started, 2)
            placements = place_stages(self._config, machines)
            cluster.configure(self._config.compute)
            # Once more: starting Ray puts its own handler of SIGTERM, which exits, in the place of ours.
            with _sigterm_interrupts(), self._opened_sinks(facts):
                self._drive(source, placements)

    @contextmanager
    def _opened_sinks(self, facts: JobFacts) -> Iterator[None]:
        """Open the sinks, and finish each one whatever happens; the first failure is the one that is raised."""
        opened: list[tuple[Sink, dict[str, Any]]] = []
        completed = False
        failure: FleetembedError | None = None
        try:
            for config, sink in zip(self._config.sink, self._sinks, strict=True):
                opened.append((sink, {"type": config.type, "place": config.place}))
                sink.open(facts)
            yield
            completed = True
        finally:
            for sink, about in opened:
                try:
                    self._report.sinks.append(about | sink.finish(completed=completed))
                except FleetembedError as error:
                    log.error("%s could not be finished: %s", sink.name, error)
                    failure = failure or error
        if failure is not None:
            raise failure

    def _drive(self, source: SourcePlan, placements: dict[str, Placement]) -> None:
        from pipelines import cluster, flow

        read = flow.scan(source.splits, self._config.source)
        self._report.documents = read.documents
        tally = cluster.RemoteTally()
        dataset = flow.build_dataset(self._config, read, placements, self._sinks, self._run_id, tally)
        view = choose_view(read.documents, self._console)
        settled = 0.0
        with view, self._watching(tally, view, lambda: settled):
            receipts: Any
            for receipts in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                settled += sum(receipts["documents"].to_pylist())
                self._report.take_receipts(receipts)
                self._check_errors(at_end=False)
        self._check_errors(at_end=True)

    @contextmanager
    def _watching(self, tally: Any, view: ProgressView, settled: Any) -> Iterator[None]:
        """Refresh the view and the report's file while receipts come in."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(SECONDS_BETWEEN_LOOKS):
                stages = tally.read()
                self._report.take_stages(stages)
                self._report.seconds = round(time.monotonic() - self._started, 2)
                self._report.save(self._config.report)
                view.update(settled() + stages.get("skip", {}).get("documents", 0), self._report.tokens)

        watcher = threading.Thread(target=look, name="progress", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
            stages = tally.read()
            self._report.take_stages(stages)
            first = min((stages[name][STARTED_AT] for name in self._report.models if name in stages), default=None)
            if first is not None:
                self._report.startup_seconds = round(first - self._started_at, 2)
            view.update(settled() + stages.get("skip", {}).get("documents", 0), self._report.tokens)

    def _check_errors(self, *, at_end: bool) -> None:
        errors, dead = self._config.errors, self._report.rows["dead"]
        seen = self._report.settled
        if dead > errors.max_rate * seen and (at_end or seen >= errors.min_rows):
            first = f" The first: {self._report.dead_samples[0].rstrip('.')}." if self._report.dead_samples else ""
            raise TooManyErrorsError(
                f"{dead:,} of {seen:,} rows went to dead letters ({self._config.dead_letters}), more than "
                f"errors.max_rate {errors.max_rate:g} allows.{first} What was written stays; mend the rows, or raise "
                "errors.max_rate, and run the job again"
            )


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM stop a run as cleanly as Ctrl-C does; outside of the main thread nothing can be set."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
