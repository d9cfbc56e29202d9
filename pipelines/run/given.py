"""A job's vectors without its sinks: what is read and embedded is given, and written nowhere."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from pipelines.config.job import ErrorsConfig, JobConfig
from pipelines.embed.average_length import averages, measuring, with_lengths, with_stand_ins
from pipelines.embed.checked import JobEmbedders, cut_chunks, notices
from pipelines.embed.job_models import job_fingerprints
from pipelines.errors import TooManyErrorsError
from pipelines.one_line import counted
from pipelines.rows import document_shares, is_dead
from pipelines.run.engine import Engine, MoreThanFewError
from pipelines.run.engine_choice import choose_engines
from pipelines.run.given_source import with_held_data
from pipelines.run.periodic import repeating
from pipelines.run.phases import tell
from pipelines.run.progress import choose_view
from pipelines.run.scan import ScannedSource, measure, unscanned
from pipelines.run.stages.give import given_schema
from pipelines.run.stages.job_stages import vector_stages
from pipelines.run.stages.stage import Stage
from pipelines.run.tally import figures_of
from pipelines.run.watching import SECONDS_BETWEEN_LOOKS
from pipelines.sinks.provenance import of_vectors_alone, provenance_of
from pipelines.sinks.told import as_metadata
from pipelines.sources import SourcePlan
from pipelines.stopping import stop_if_asked

log = logging.getLogger("fleetembed")


@dataclass(frozen=True)
class GivenVectors:
    """A job's source, models and engine, ready to give rows with vectors.

    ``config`` has no sinks; ``source`` is its plan. Rows that repeat an id come as often as they are there.
    """

    config: JobConfig
    source: SourcePlan
    embedders: JobEmbedders

    @cached_property
    def scanned(self) -> ScannedSource:
        """What is read."""
        return unscanned(self.source.splits)

    def stages(self, engine: Engine) -> list[Stage]:
        """List the stages for an engine; raises PreflightError as a run does.

        An average length that is to be measured is measured now, which reads the source.
        """
        config = with_held_data(self.config, engine)
        pools, planned = engine.place(config), with_stand_ins(config)
        if engine.name == "ray":
            tell("looking for the models on the nodes")
        engine.prepare(planned, self.embedders.load(planned), pools)
        if measuring(config):
            tell(f"measuring the average length of {' and '.join(measuring(config))}")
            config = with_lengths(config, averages(config, measure(config, self.scanned, engine.map)))
            pools = engine.place(config)
        facts = self.embedders.facts(config)
        prints = {} if engine.name == "local" else job_fingerprints(config, self.embedders.load(config))
        chunked = facts.chunked or self.source.of_chunks
        made = of_vectors_alone(provenance_of(replace(facts, chunked=chunked)))
        schema = given_schema(facts.vectors, chunked=chunked).with_metadata(as_metadata(made))
        return vector_stages(config, pools, engine.counter, prints, facts.vectors, schema)

    def table(self, console: Console) -> pa.Table:
        """Embed all rows, with the engine that the job takes, and give them in the source's order.

        Raises TooManyErrorsError where more rows have an error than ``errors.max_rate`` allows.
        """
        for notice in self._notices():
            log.warning("%s", notice)
        for engine in choose_engines(self.config, self.source):
            try:
                with engine() as opened:
                    return self._table(opened, console)
            except MoreThanFewError:
                continue
        raise RuntimeError("no engine takes the job")

    def _notices(self) -> list[str]:
        cut = cut_chunks(self.config, self.embedders.load(with_stand_ins(self.config)))
        return [*self.source.notices, *notices(self.config, self.source.splits), *cut]

    def _table(self, engine: Engine, console: Console) -> pa.Table:
        stages = self.stages(engine)
        kept = _Kept(self.config.errors, [])
        names = [figures_of(embedding.name) for embedding in self.config.embeddings]

        def look() -> None:
            stages = engine.counter.read()
            tokens = sum(int(stages.get(name, {}).get("tokens", 0)) for name in names)
            view.update(kept.documents, tokens)

        view = choose_view(self.scanned.documents, console)
        began = time.monotonic()
        tell("starting workers, which load the models" if engine.name == "ray" else "loading the models")
        with engine.give(stages, self.scanned.tasks) as tables:
            with view, repeating(look, SECONDS_BETWEEN_LOOKS, "progress"):
                for table in tables:
                    stop_if_asked()
                    if not kept.tables:
                        view.begin(time.monotonic() - began)
                    kept.take(table)
            look()
        kept.check(at_end=True)
        schema = stages[-1].schema  # type: ignore[attr-defined]
        table = pa.concat_tables([schema.empty_table(), *kept.tables])
        _tell_repeated(table)
        return table


@dataclass
class _Kept:
    """Tables that came so far, how many documents they are, and which rows have an error."""

    errors: ErrorsConfig
    tables: list[pa.Table]
    documents: float = 0.0
    rows: int = 0
    dead: int = 0
    first: str = ""

    def take(self, table: pa.Table) -> None:
        self.tables.append(table)
        chunked = "chunk_count" in table.column_names
        self.documents += float(document_shares(table).sum()) if chunked else table.num_rows
        self.rows += table.num_rows
        dead = table.filter(pa.array(is_dead(table)))
        self.dead += dead.num_rows
        if dead.num_rows and not self.first:
            row = dead.slice(0, 1).select(["document_id", "error"]).to_pylist()[0]
            error = row["error"]
            named = "" if row["document_id"] is None else f"document {row['document_id']!r}: "
            self.first = f"{named}{error['stage']}: {error['type']}: {error['message']}".rstrip(".")
        self.check(at_end=False)

    def check(self, *, at_end: bool) -> None:
        if not self.dead:
            return
        if self.dead > self.errors.max_rate * self.rows and (at_end or self.rows >= self.errors.min_rows):
            raise TooManyErrorsError(
                f"{self.dead:,} of {self.rows:,} rows have an error, more than errors.max_rate "
                f"{self.errors.max_rate:g} allows. The first: {self.first}. Mend the rows, or raise errors.max_rate: "
                "rows with an error come with it, in the column error"
            )
        if at_end:
            log.warning(
                "%s of %s rows have an error, in the column error, and lack vectors. The first: %s",
                f"{self.dead:,}",
                f"{self.rows:,}",
                self.first,
            )


def _tell_repeated(table: pa.Table) -> None:
    """Say that rows have the id of others, of which a run would take the first alone."""
    ids = table["id"].drop_null()
    more = len(ids) - pc.count_distinct(ids).as_py()
    if not more:
        return
    counts = pc.value_counts(ids)
    twice = counts.filter(pc.greater(counts.field("counts"), 1))[0]["values"]
    document = table["document_id"][pc.index(table["id"], twice).as_py()]
    log.warning(
        "%s (document %r, for instance): all rows are given, where a run would take the first of each",
        counted(more, "repeated id"),
        document.as_py(),
    )
