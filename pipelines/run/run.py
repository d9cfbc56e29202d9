"""Carries a job out and reports: from its configuration to what its sinks acknowledged."""

from __future__ import annotations

import logging
import secrets
import signal
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial

from rich.console import Console

from pipelines.config.job import JobConfig
from pipelines.config.secrets import without_secrets
from pipelines.embed.average_length import averages, held_lengths, measuring, numbers, with_lengths, with_stand_ins
from pipelines.embed.checked import JobEmbedders, cut_chunks, model_facts, notices
from pipelines.embed.doubled_prompts import doubled_prompts
from pipelines.embed.job_models import job_fingerprints
from pipelines.embed.payload_sample import learn_payloads
from pipelines.run.checks import check_documents, check_errors
from pipelines.run.deletions import delete_gone, sweeps
from pipelines.run.engine import Engine, MoreThanFewError
from pipelines.run.engine_choice import choose_engines
from pipelines.run.given_source import read_by_ray, with_held_data
from pipelines.run.opened_sinks import opened_sinks
from pipelines.run.phases import tell
from pipelines.run.placement.pools import Pool
from pipelines.run.progress import choose_view
from pipelines.run.report.file import RunningReport
from pipelines.run.report.last import STOPPED, LastReport
from pipelines.run.report.machine import describe_machine
from pipelines.run.report.other_run import refuse_to_replace
from pipelines.run.report.report import RunReport
from pipelines.run.report.settings import shown_settings
from pipelines.run.report.startup import StartUp
from pipelines.run.scan import ScannedSource, measure, scan
from pipelines.run.source_changes import WrittenDocuments, why_changed
from pipelines.run.stages.job_stages import job_stages
from pipelines.run.tally import REREAD_ROWS
from pipelines.run.watching import RunClock, watching
from pipelines.sinks.base import JobFacts, Sink
from pipelines.sinks.folder_mark import FolderMark, marked
from pipelines.sinks.lease.lease import RunLeases
from pipelines.sources import SourcePlan
from pipelines.sources.named_columns import unmarked_notice
from pipelines.stopping import stop_if_asked, stoppable
from pipelines.submitted import refuse_in_submitted
from pipelines.urls import local_path, without_credentials
from pipelines.written import plan_job_source, refuse_own_collection, refuse_unwritable

log = logging.getLogger("fleetembed")

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Run:
    """Carries a job out once: its clock, report and sinks.

    The configuration gets its average lengths on the way, those that places hold before those that are measured.
    ``sinks`` are those of its sections, in their order; ``startup`` has begun, else it begins now.
    """

    def __init__(
        self,
        config: JobConfig,
        embedders: JobEmbedders,
        console: Console,
        sinks: Sequence[Sink],
        startup: StartUp | None = None,
    ) -> None:
        self._config, self._embedders, self._console = config, embedders, console
        self._startup = startup or StartUp(time.monotonic())
        self._clock = RunClock(self._startup.began)
        now = datetime.now(timezone.utc)
        self._run_id = f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        self._report = RunReport(self._run_id, self._config.corpus, started=now.isoformat(timespec="seconds"))
        self._report.dead_letters = without_credentials(self._config.dead_letters)
        self._report.exit_code_on_dead = self._config.errors.exit_code_on_dead
        self._report.price_per_hour = self._config.compute.price_per_hour
        # A configuration may hold what cannot be shown, and is no reason for a run to fail.
        with suppress(Exception):
            self._report.config = shown_settings(self._config)
        self._sinks = list(sinks)
        self._leases = RunLeases(self._sinks, self._run_id, self._config.corpus)
        self._facts: JobFacts
        self._last_report = LastReport(config, self._report, console)
        self._scanned: ScannedSource | None = None
        self._scan_seconds = 0.0
        self._of_chunks = self._nothing_held = False
        self._copied_from: str | None = None
        self._written = WrittenDocuments()
        # Points by the name of the sink.
        self._deleted: dict[str, int] = {}

    def carry_out(self) -> RunReport:
        """See ``EmbeddingPipeline.run``."""
        report = self._report
        report.startup = self._startup.seconds
        refuse_in_submitted(self._config)
        # What the configuration has wrong is said before anything is looked at, and before there is a report. Models
        # may be downloaded.
        with stoppable(*STOPPING):
            self._embedders.facts(with_stand_ins(self._config))
        refuse_unwritable(self._config)
        report.refuse_foreign_file(self._config.report)
        refuse_to_replace(self._config.report, self._sinks)
        report.begin(self._config.report)
        with stoppable(*STOPPING, first_act=self._last_report.tell_stopped):
            try:
                with self._leases:
                    self._embed_all()
                report.status, report.error = "complete", None
            except (KeyboardInterrupt, SystemExit):
                # SystemExit: a SIGTERM while Ray starts meets Ray's own handler.
                report.status, report.error = STOPPED
                raise KeyboardInterrupt from None
            except BaseException as error:
                report.status, report.error = "failed", without_secrets(str(error))
                raise
            finally:
                report.seconds = self._clock.seconds()
                self._last_report.settle(summary=self._scanned is not None)
        return report

    def _embed_all(self) -> None:
        source = self._look()
        self._startup.end("checks")
        with read_by_ray(self._config) as config:
            if config is not self._config:
                self._config = config
                source = plan_job_source(config)
                self._report.notices += doubled_prompts(config, source.splits)
                self._report.notices += learn_payloads(self._sinks, config, source.splits, self._facts)
                self._startup.end("reading")
            self._embed_with_one(source)

    def _embed_with_one(self, source: SourcePlan) -> None:
        """Embed by the first engine that takes the job."""
        for engine in choose_engines(self._config, source):
            try:
                with engine() as opened:
                    self._startup.end("engine")
                    self._report.engine = opened.name
                    # What a system does not tell is no reason for a run to fail.
                    with suppress(Exception):
                        self._report.machine = describe_machine(opened.nodes)
                    self._report.notices += opened.notices
                    self._report.startup_seconds = self._clock.seconds()
                    self._embed_with(opened, source)
                return
            except MoreThanFewError:
                self._report.sinks.clear()
                self._startup.end("tried_here")
        raise RuntimeError("no engine takes the job")

    def _look(self) -> SourcePlan:
        source = plan_job_source(self._config)
        if self._config.source.unread is not None:
            self._config.source.unread.check()
        refuse_own_collection(self._config, source)
        self._of_chunks, self._copied_from = source.of_chunks, source.copied_from
        held = held_lengths(self._config, self._sinks)
        for name, found in held.items():
            self._report.statistics[name] = {"avg_len": found.avg_len, "held_by": found.place}
            log.info("the average length of %s is %s words, which %s was filled with", name, found.avg_len, found.place)
        self._facts = self._settle(numbers(held))
        cut = cut_chunks(self._config, self._embedders.load(with_stand_ins(self._config)))
        self._report.notices = [*source.notices, *notices(self._config, source.splits), *cut]
        self._report.notices += learn_payloads(self._sinks, self._config, source.splits, self._facts)
        self._nothing_held = not min(sink.check(self._facts)["points"] for sink in self._sinks)
        self._leases.look()
        return source

    def _embed_with(self, engine: Engine, source: SourcePlan) -> None:
        self._config = with_held_data(self._config, engine)
        pools = engine.place(self._config)
        planned = with_stand_ins(self._config)
        if engine.name == "ray":
            tell("looking for the models on the nodes")
        engine.prepare(planned, self._embedders.load(planned), pools)
        with suppress(Exception):
            self._report.max_lengths = {one.name: one.max_length for one in self._embedders.load(planned)}
        self._startup.end("preparation")
        if self._scanned is None:
            tell("counting the documents")
            self._scanned = self._scan(source, engine)
            self._startup.end("scan")
            self._tell_deletions(source, self._scanned)
        self._report.documents = self._scanned.documents
        documents = self._scanned.documents or 0
        if self._nothing_held and engine.most_rows is not None and documents > engine.most_rows:
            raise MoreThanFewError
        if measuring(self._config):
            self._facts = self._settle(self._measure(self._scanned, engine))
            self._startup.end("lengths")
            # The average lengths are in the embeddings.
            pools = engine.place(self._config)
        # One process sees one folder.
        letters = local_path(self._config.dead_letters) if engine.name == "ray" else None
        with self._opened_sinks(), marked(letters) as mark:
            self._startup.end("sinks")
            accounted = self._drive(engine, pools, self._scanned, mark)
            changed = partial(why_changed, self._config, source.listed, self._scanned.presence, self._written)
            self._deleted |= delete_gone(
                self._config,
                self._sinks,
                self._scanned,
                self._report,
                accounted=accounted,
                changed=changed,
                check=self._refuse_to_go_on,
            )

    def _tell_deletions(self, source: SourcePlan, scanned: ScannedSource) -> None:
        """Say what the source says is deleted, which waits for the end of the run, or that its column is not there."""
        presence = scanned.presence
        self._report.deletions_read = self._report.deletions_waiting = len(presence.deleted)
        if source.unmarked is not None and not presence.marked:
            self._report.notices.append(unmarked_notice(self._config.source, source.unmarked, read=True))

    def _settle(self, lengths: dict[str, float]) -> JobFacts:
        """Take average lengths into the configuration; the facts are stand-ins while there is more to measure."""
        self._config = with_lengths(self._config, lengths)
        facts = self._embedders.facts(with_stand_ins(self._config))
        facts = replace(facts, chunked=facts.chunked or self._of_chunks, copied_from=self._copied_from)
        self._report.fingerprint = "" if measuring(self._config) else facts.fingerprint
        self._report.models = model_facts(self._config, facts)
        return facts

    def _scan(self, source: SourcePlan, engine: Engine) -> ScannedSource:
        started = time.monotonic()
        config = self._config
        found = scan(source.splits, config.source, engine.compare_ids, keep_keys=sweeps(config), job=config)
        self._scan_seconds = time.monotonic() - started
        return found

    def _measure(self, source: ScannedSource, engine: Engine) -> dict[str, float]:
        started = time.monotonic()
        names, left = " and ".join(measuring(self._config)), len(source.splits) - len(source.lengths)
        if source.lengths and left:
            tell(f"measuring {names} again in {left:,} parts of the source, where rows repeat an id")
        elif left:
            documents = "all" if source.documents is None else f"{source.documents:,}"
            tell(f"measuring the average length of {names} over {documents} documents")
        measured = measure(self._config, source, engine.map)
        seconds = round(time.monotonic() - started + (self._scan_seconds if source.lengths else 0), 2)
        lengths = averages(self._config, measured)
        for name, found in measured.items():
            self._report.statistics[name] = {"avg_len": lengths[name], "texts": found.texts, "seconds": seconds}
            log.info("the average length of %s is %s words, over %s texts", name, lengths[name], f"{found.texts:,}")
        return lengths

    def _opened_sinks(self) -> AbstractContextManager[None]:
        return opened_sinks(self._config.sink, self._sinks, self._facts, self._leases, self._report, self._deleted)

    def _drive(self, engine: Engine, pools: list[Pool], source: ScannedSource, mark: FolderMark | None) -> bool:
        """Run the job's stages; returns whether what was read is what was scanned."""
        prints = self._fingerprints(engine)
        counter, vectors = engine.counter, self._facts.vectors
        stages = job_stages(self._config, pools, self._sinks, self._run_id, counter, prints, mark, vectors)
        if source.documents is not None:
            engine.counter("read", {"documents": source.documents})
        tell("starting workers, which load the models" if engine.name == "ray" else "loading the models")
        settled = 0.0
        with engine.drive(stages, source.tasks) as tables:
            view = choose_view(source.documents, self._console)
            file = self._last_report.running = RunningReport(self._config.report)
            with view, watching(self._report, file, engine, view, self._clock, self._startup, lambda: settled):
                for receipts in tables:
                    self._refuse_to_go_on()
                    settled += sum(receipts["documents"].to_pylist())
                    self._report.take_receipts(receipts)
                    if self._config.deleted_points is not None:
                        self._written.take(receipts)
                    check_errors(self._report, self._config.errors, engine.counter, at_end=False)
        self._report.count_repeats()
        check_errors(self._report, self._config.errors, engine.counter, at_end=True)
        same = check_documents(self._report, engine.counter, source.documents if source.are_counted else None, settled)
        if not source.are_counted:
            self._report.documents = self._report.rows["read"] or self._report.documents
        if source.is_live:
            self._tell_of_changes()
        return same and not source.is_live

    def _tell_of_changes(self) -> None:
        """Say where a source may have changed while it was read, so that documents were missed."""
        report = self._report
        if report.stages.get("skip", {}).get(REREAD_ROWS) or report.nodes_lost:
            report.notices.append(
                "a part of the collection was read again after a worker was lost, and may have changed in between: run "
                "the job again for what was missed"
            )

    def _refuse_to_go_on(self) -> None:
        """Raise where a signal came, or a place was lost to another run."""
        stop_if_asked()
        self._leases.refuse_lost()

    def _fingerprints(self, engine: Engine) -> dict[str, str]:
        """What each model must be wherever it runs; in this process they were just made."""
        if engine.name == "local":
            return {}
        return job_fingerprints(self._config, self._embedders.load(self._config))
