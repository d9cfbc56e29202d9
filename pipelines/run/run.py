"""Carries a job out and reports: from its configuration to what its sinks acknowledged."""

from __future__ import annotations

import logging
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from rich.console import Console

from pipelines.config.job import JobConfig
from pipelines.embed.average_length import averages, held_lengths, measuring, numbers, with_lengths, with_stand_ins
from pipelines.embed.checked import JobEmbedders, model_facts, notices
from pipelines.embed.job_models import job_fingerprints
from pipelines.errors import ConfigError, TooManyErrorsError, WorkerError
from pipelines.filesystem import without_credentials
from pipelines.run.engine import Engine, MoreThanFewError
from pipelines.run.engine_choice import choose_engines
from pipelines.run.placement.pools import Pool
from pipelines.run.progress import ProgressView, choose_view
from pipelines.run.report.file import RunningReport, make_room
from pipelines.run.report.report import RunReport, Status
from pipelines.run.scan import ScannedSource, measure, scan
from pipelines.run.stages.job_stages import job_stages
from pipelines.run.tally import STARTED_AT, Counter, figures_of
from pipelines.sinks.base import JobFacts, Sink
from pipelines.sinks.factory import make_sink
from pipelines.sinks.lease.lease import RunLeases
from pipelines.sources import SourcePlan
from pipelines.stopping import stop_if_asked, stoppable
from pipelines.submitted import refuse_in_submitted
from pipelines.written import plan_job_source

log = logging.getLogger("fleetembed")

SECONDS_BETWEEN_LOOKS = 1.0
STOPPING = (signal.SIGINT, signal.SIGTERM)
STOPPED: tuple[Status, str] = ("interrupted", "stopped by a signal")
SECONDS_FOR_LAST_FIGURES = 3.0


class Run:
    """Carries a job out once: its clock, report and sinks.

    The configuration gets its average lengths on the way, those that places hold before those that are measured.
    """

    def __init__(self, config: JobConfig, embedders: JobEmbedders, console: Console) -> None:
        self._config, self._embedders, self._console = config, embedders, console
        self._started = time.monotonic()
        self._started_at = time.time()
        now = datetime.now(timezone.utc)
        self._run_id = f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        self._report = RunReport(self._run_id, self._config.corpus, started=now.isoformat(timespec="seconds"))
        self._report.dead_letters = without_credentials(self._config.dead_letters)
        self._report.exit_code_on_dead = self._config.errors.exit_code_on_dead
        self._sinks: list[Sink] = [make_sink(sink) for sink in self._config.sink]
        self._leases = RunLeases(self._sinks, self._run_id, self._config.corpus)
        self._facts: JobFacts
        self._scanned: ScannedSource | None = None

    def carry_out(self) -> RunReport:
        """See ``EmbeddingPipeline.run``."""
        report = self._report
        refuse_in_submitted(self._config)
        # What the configuration has wrong is said before anything is looked at, and before there is a report. Models
        # may be downloaded.
        with stoppable(*STOPPING):
            self._embedders.facts(with_stand_ins(self._config))
        report.refuse_foreign_file(self._config.report)
        if (unwritten := report.try_to_save(self._config.report)) is not None:
            raise ConfigError(f"report: cannot write {without_credentials(self._config.report)}: {unwritten}")
        with stoppable(*STOPPING, first_act=self._tell_stopped):
            try:
                with self._leases:
                    self._embed_all()
                report.status, report.error = "complete", None
            except (KeyboardInterrupt, SystemExit):
                # SystemExit: a SIGTERM while Ray starts meets Ray's own handler.
                report.status, report.error = STOPPED
                raise KeyboardInterrupt from None
            except BaseException as error:
                report.status, report.error = "failed", str(error)
                raise
            finally:
                report.seconds = round(time.monotonic() - self._started, 2)
                self._settle_report()
        return report

    def _tell_stopped(self) -> None:
        """Write at once what the report will say: closing takes seconds, and whoever sent a SIGTERM may not wait."""
        self._report.status, self._report.error = STOPPED
        self._report.try_to_save(self._config.report)

    def _settle_report(self) -> None:
        """Write the report and show the summary; neither can change how the run ends, nor hide the error that ended it.

        On a full disk the report of a moment ago, which says that the run goes on, makes room for the last one.
        """
        report, path = self._report, self._config.report
        unwritten = report.try_to_save(path)
        if unwritten is not None and make_room(path):
            unwritten = report.try_to_save(path)
        if unwritten is not None:
            report.notices.append(f"the report could not be written to {without_credentials(path)}: {unwritten}")
        if report.documents is None:
            # There is no summary then, which would show it.
            if unwritten is not None:
                log.error(report.notices[-1])
            return
        try:
            report.show(self._console)
        # A terminal that is gone, or lacks the characters.
        except (OSError, ValueError) as error:
            log.error("the summary could not be shown: %s", error)

    def _embed_all(self) -> None:
        source = plan_job_source(self._config)
        held = held_lengths(self._config, self._sinks)
        for name, found in held.items():
            self._report.statistics[name] = {"avg_len": found.avg_len, "held_by": found.place}
            log.info("the average length of %s is %s words, which %s was filled with", name, found.avg_len, found.place)
        self._facts = self._settle(numbers(held))
        self._report.notices = [*source.notices, *notices(self._config, source.splits)]
        points = min(sink.check(self._facts)["points"] for sink in self._sinks)
        self._leases.look()
        for engine in choose_engines(self._config, source):
            try:
                with engine() as opened:
                    self._report.engine = opened.name
                    self._report.notices += opened.notices
                    self._report.startup_seconds = round(time.monotonic() - self._started, 2)
                    self._embed_with(opened, source, nothing_held=not points)
                return
            except MoreThanFewError:
                self._report.sinks.clear()
        raise RuntimeError("no engine takes the job")

    def _embed_with(self, engine: Engine, source: SourcePlan, *, nothing_held: bool) -> None:
        pools = engine.place(self._config)
        planned = with_stand_ins(self._config)
        engine.prepare(planned, self._embedders.load(planned), pools)
        self._scanned = self._scanned or scan(source.splits, self._config.source, engine.map)
        self._report.documents = self._scanned.documents
        if nothing_held and engine.most_rows is not None and self._scanned.documents > engine.most_rows:
            raise MoreThanFewError
        if measuring(self._config):
            self._facts = self._settle(self._measure(self._scanned, engine))
            # The average lengths are in the embeddings.
            pools = engine.place(self._config)
        with self._opened_sinks(self._facts):
            self._drive(engine, pools, self._scanned)

    def _settle(self, lengths: dict[str, float]) -> JobFacts:
        """Take average lengths into the configuration; the facts are stand-ins while there is more to measure."""
        self._config = with_lengths(self._config, lengths)
        facts = self._embedders.facts(with_stand_ins(self._config))
        self._report.fingerprint = "" if measuring(self._config) else facts.fingerprint
        self._report.models = model_facts(self._config, facts)
        return facts

    def _measure(self, source: ScannedSource, engine: Engine) -> dict[str, float]:
        started = time.monotonic()
        documents = f"{source.documents:,}"
        log.info(
            "measuring the average length of %s over %s documents", " and ".join(measuring(self._config)), documents
        )
        measured = measure(self._config, source, engine.map)
        seconds = round(time.monotonic() - started, 2)
        lengths = averages(self._config, measured)
        for name, found in measured.items():
            self._report.statistics[name] = {"avg_len": lengths[name], "texts": found.texts, "seconds": seconds}
            log.info("the average length of %s is %s words, over %s texts", name, lengths[name], f"{found.texts:,}")
        return lengths

    @contextmanager
    def _opened_sinks(self, facts: JobFacts) -> Iterator[None]:
        """Open the sinks, and finish each one whatever happens; the first failure is the one that is raised."""
        opened: list[tuple[Sink, dict[str, Any]]] = []
        completed = untouched = False
        failure: BaseException | None = None
        try:
            self._report.notices += self._leases.take(facts)
            for config, sink in zip(self._config.sink, self._sinks, strict=True):
                opened.append((sink, {"type": config.type, "place": config.place}))
                sink.open(facts)
            yield
            completed = True
        except MoreThanFewError:
            untouched = True
            raise
        finally:
            for sink, about in opened:
                try:
                    if (lost := self._leases.lost(sink)) is not None:
                        sink.abandon()
                        raise lost
                    self._report.sinks.append(about | sink.finish(completed=completed, untouched=untouched))
                # Whatever ends one, a signal too, the others are finished.
                except BaseException as error:
                    log.error("%s could not be finished: %s", sink.name, error or type(error).__name__)
                    failure = failure or error
        if failure is not None:
            raise failure

    def _drive(self, engine: Engine, pools: list[Pool], source: ScannedSource) -> None:
        stages = job_stages(self._config, pools, self._sinks, self._run_id, engine.counter, self._fingerprints(engine))
        engine.counter("read", {"documents": source.documents})
        settled = 0.0
        with engine.drive(stages, source.tasks) as tables:
            view = choose_view(source.documents, self._console)
            with view, self._watching(engine, view, lambda: settled):
                for receipts in tables:
                    stop_if_asked()
                    self._leases.refuse_lost()
                    settled += sum(receipts["documents"].to_pylist())
                    self._report.take_receipts(receipts)
                    self._check_errors(engine.counter, at_end=False)
        self._report.count_repeats()
        self._check_errors(engine.counter, at_end=True)
        self._check_documents(engine.counter, source.documents, settled)

    def _fingerprints(self, engine: Engine) -> dict[str, str]:
        """What each model must be wherever it runs; in this process they were just made."""
        if engine.name == "local":
            return {}
        return job_fingerprints(self._config, self._embedders.load(self._config))

    @contextmanager
    def _watching(self, engine: Engine, view: ProgressView, settled: Any) -> Iterator[None]:
        """Refresh the view and the report's file while receipts come in."""
        over = threading.Event()

        def look(file: RunningReport) -> None:
            told = False
            while not over.wait(SECONDS_BETWEEN_LOOKS):
                stages = engine.counter.read()
                self._report.take_stages(stages)
                self._report.take_losses(engine.losses)
                self._report.seconds = round(time.monotonic() - self._started, 2)
                unwritten = file.save(asdict(self._report))
                if unwritten is not None and not told:
                    told = True
                    shown = without_credentials(self._config.report)
                    log.warning("the report cannot be written to %s: %s; the run goes on", shown, unwritten)
                view.update(settled() + stages.get("skip", {}).get("documents", 0), self._report.tokens)

        def watch() -> None:
            with RunningReport(self._config.report) as file:
                look(file)

        watcher = threading.Thread(target=watch, name="progress", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
            stages = engine.counter.read()
            self._report.take_stages(stages)
            self._report.take_losses(engine.losses, at_end=True)
            names = map(figures_of, self._report.embeddings)
            first = min((stages[name][STARTED_AT] for name in names if name in stages), default=None)
            if first is not None:
                self._report.startup_seconds = round(first - self._started_at, 2)
            view.update(settled() + stages.get("skip", {}).get("documents", 0), self._report.tokens)

    def _check_documents(self, counter: Counter, documents: int, settled: float) -> None:
        """Compare the documents that were found with those whose fate is known; raises WorkerError where some are lost.

        Fractions of documents, which chunks are, add up with a small error.
        """
        report = self._report

        def missing() -> int:
            # The last figures may still be on their way.
            report.take_stages(counter.read())
            return round(documents - settled - report.stages.get("skip", {}).get("documents", 0.0))

        deadline = time.monotonic() + SECONDS_FOR_LAST_FIGURES
        while (lost := missing()) > 0 and not report.lost_figures:
            if time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            told = f"{lost:,} of {documents:,} documents reached neither the sinks nor the dead letters"
            if report.lost_work:
                raise WorkerError(f"{told}: they were lost with a node or a worker; run the job again for them")
            report.notices.append(
                f"{told}, as far as is known; the source may have changed: run the job again for them"
            )
            return

    def _check_errors(self, counter: Counter, *, at_end: bool) -> None:
        errors, report = self._config.errors, self._report
        if not report.exceeds(errors.max_rate):
            return
        # Skipped rows are else looked at once a second, and dead ones come with each block.
        report.take_stages(counter.read())
        dead, seen = report.rows["dead"], report.settled
        if report.exceeds(errors.max_rate) and (at_end or seen >= errors.min_rows):
            first = f" The first: {self._report.dead_samples[0].rstrip('.')}." if self._report.dead_samples else ""
            raise TooManyErrorsError(
                f"{dead:,} of {seen:,} rows went to dead letters ({report.dead_letters}), more than "
                f"errors.max_rate {errors.max_rate:g} allows.{first} What was written stays; mend the rows, or raise "
                "errors.max_rate, and run the job again"
            )
