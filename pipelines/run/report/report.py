"""What a run did: its figures, as stages, receipts and engines tell them."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from rich.console import Console

from embedders.errors import FleetembedError
from embedders.retrying import Patience
from pipelines.run.notebook_progress import running_cell, show_in_cell
from pipelines.run.report import file as report_file
from pipelines.run.report import summary
from pipelines.run.report.losses import Losses
from pipelines.run.tally import (
    BLOCKS,
    CACHED,
    FIRST_BLOCK,
    LENGTH,
    REREAD_DOCUMENTS,
    REREAD_ROWS,
    STARTED_AT,
    Figures,
    figures_of,
)
from pipelines.urls import without_credentials

log = logging.getLogger("fleetembed")

Status = Literal["running", "complete", "failed", "interrupted"]
COUNTS = ("read", "chunked", "skipped", "embedded", "copied", "payload_only", "written", "deleted", "dead")
# What receipts tell.
RECEIVED = ("copied", "payload_only", "written", "dead")
MAX_SAMPLES = 10
MAX_REASONS, SAMPLES_A_REASON = 40, 3
OTHER_REASONS = "others"


@dataclass(repr=False)
class RunReport:
    """One run's figures.

    ``documents`` are those of the source; where nobody counted them before (``source.ids_are_unique``), as many as its
    files say they have, or None, and in the end those that were read.
    ``rows`` counts: ``read`` documents, ``chunked`` rows made of them, ``skipped`` rows the sinks held unchanged,
    ``embedded`` rows that went through the models, ``cached`` (of a job with a cache) those of them that took the
    vectors of neural networks from there, ``copied`` rows that a sink was given with the vectors that another one
    had, ``payload_only`` rows whose vectors all sinks had, some of them beside another payload, ``written`` rows
    every sink acknowledged, ``deleted`` points that left the sinks because their document left the source, ``dead``
    rows in the dead letters; after an interruption ``written``, ``copied`` and ``payload_only`` may lag behind what the
    sinks hold. ``stages`` holds each stage's sums: seconds are summed over its workers. ``startup_seconds`` pass until
    the first row reaches a model: start of the engine (Ray and its workers' imports), average lengths, first reads;
    without a row to embed, until an engine is there. ``startup`` has its parts, one after the other, in seconds (see
    `StartUp`). ``engine`` is what drove the job: Ray, or this process alone.
    ``statistics`` holds by embedding the average length ``avg_len`` where the job is to measure it: over how many
    ``texts``, and in how many ``seconds``; or ``held_by`` which place, from an earlier run. ``nodes_lost`` and
    ``nodes_joined`` count nodes of the cluster that went and came while rows were embedded, ``actors_restarted`` worker
    processes that were started anew. ``blocks_embedded_again`` were given to a model more than once, because what it
    made of them, or the worker, was lost; ``rows_embedded_again`` rows went through the last model more than once.
    ``deletions_read`` counts documents that the source said are deleted, ``deletions_waiting`` those of them that the
    run has not deleted from the sinks, ``deleted_points`` is the file that has the ids of deleted points, and
    ``deletions_refused`` tells that a sink lost none because too many would have gone (``max_delete``, or all of a
    corpus whose source is empty). ``passes`` are the counts of all passes of a reindexing, the last of which the report
    is of. ``dead_reasons`` counts dead rows by the stage and the type of their errors, with samples.
    ``price_per_hour`` is what the job's machines cost, where it says so; ``config`` is what of the job differs from the
    defaults, without secrets; ``machine`` is what the run had (see `describe_machine`). ``token_lengths`` has by
    embedding ``max_length`` tokens of a text, above which it is cut, and how many ``texts`` had at most ``up_to``
    tokens, and more than the bin before; ``timeline`` is what stages had done at moments of the run (see `Timeline`).
    """

    run_id: str
    corpus: str
    status: Status = "running"
    error: str | None = None
    started: str = ""
    seconds: float = 0.0
    startup_seconds: float = 0.0
    startup: dict[str, float] = field(default_factory=dict)
    engine: Literal["ray", "local"] | None = None
    fingerprint: str = ""
    documents: int | None = None
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    tokens: int = 0
    padding_waste: float = 0.0
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    statistics: dict[str, dict[str, Any]] = field(default_factory=dict)
    stages: dict[str, Figures] = field(default_factory=dict)
    sinks: list[dict[str, Any]] = field(default_factory=list)
    nodes_lost: int = 0
    nodes_joined: int = 0
    actors_restarted: int = 0
    blocks_embedded_again: int = 0
    rows_embedded_again: int = 0
    dead_letters: str | None = None
    dead_samples: list[str] = field(default_factory=list)
    exit_code_on_dead: int = 3
    deletions_read: int = 0
    deletions_waiting: int = 0
    deleted_points: str | None = None
    deletions_refused: bool = False
    passes: list[dict[str, Any]] = field(default_factory=list)
    dead_reasons: list[dict[str, Any]] = field(default_factory=list)
    price_per_hour: float | None = None
    config: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    token_lengths: dict[str, dict[str, Any]] = field(default_factory=dict)
    timeline: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # By the receipts: rows that reached the sinks, and blocks.
        self._received = self._blocks = 0
        # Whether the process that counts was lost: `stages` may show less than was done.
        self.lost_figures = False
        # Where it is as a page, without credentials.
        self.page: str | None = None
        # Tokens of a text at most, by embedding.
        self.max_lengths: dict[str, int | None] = {}
        # The cell that the report was shown in when the run was over.
        self._shown_in: int | None = None

    def __repr__(self) -> str:
        from pipelines.notebook.report import report_view
        from pipelines.notebook.text import to_text

        return to_text(report_view(self))

    def _repr_html_(self) -> str:
        from pipelines.notebook.html import to_html
        from pipelines.notebook.report import report_view

        return to_html(report_view(self))

    def _ipython_display_(self) -> None:
        """Show nothing as the value of the cell that ran the job, where the report stands already."""
        shown_in, self._shown_in = self._shown_in, None
        if shown_in is None or shown_in != running_cell():
            # IPython's word for: as for any other value.
            raise NotImplementedError

    @property
    def exit_code(self) -> int:
        """0 all well, 1 failed or interrupted; done but with dead letters: ``exit_code_on_dead`` (3, or 0).

        3 where deletions were refused, whatever ``exit_code_on_dead`` says.
        """
        if self.status != "complete":
            return 1
        if self.deletions_refused:
            return 3
        return self.exit_code_on_dead if self.rows["dead"] else 0

    @property
    def embeddings(self) -> list[str]:
        """Names of the embeddings, which ``stages`` knows too; one may give several vectors of ``models``."""
        names = dict.fromkeys(facts.get("embedding", name) for name, facts in self.models.items())
        return [name for name in names if name is not None]

    def take_stages(self, stages: dict[str, Figures]) -> None:
        """Take over the stages' sums, and derive the row counts and padding waste from them."""
        rounded = {name: _rounded(figures) for name, figures in stages.items() if name != FIRST_BLOCK}
        embedders = {name: stages[name] for name in map(figures_of, self.embeddings) if name in stages}
        for name, figures in embedders.items():
            if figures.get("padded_tokens"):
                rounded[name]["padding_waste"] = round(1 - figures["tokens"] / figures["padded_tokens"], 4)
        self.token_lengths = {
            name: {"max_length": self.max_lengths.get(name), **found}
            for name in self.embeddings
            if (found := _token_lengths(stages.get(figures_of(name), {})))["texts"]
        }
        # Replaced whole: another thread may be copying the report.
        self.stages = rounded
        read, skip = stages.get("read", {}), stages.get("skip", {})
        self.rows |= {
            "read": int(read.get("rows", 0)) - round(skip.get(REREAD_DOCUMENTS, 0)),
            "chunked": int(read.get("chunks", 0) - skip.get(REREAD_ROWS, 0)),
            "skipped": int(skip.get("rows", 0)),
            "embedded": int(max((figures.get("rows", 0) for figures in embedders.values()), default=0)),
        }
        cached = [int(figures[CACHED]) for figures in embedders.values() if CACHED in figures]
        if cached:
            self.rows[CACHED] = min(cached)
        # Figures may be lost with the process that counts, receipts never.
        if self.embeddings or not self.models:
            self.rows["embedded"] = max(self.rows["embedded"], self._received)
        self.tokens = int(sum(figures.get("tokens", 0) for figures in embedders.values()))
        padded = sum(figures.get("padded_tokens", 0) for figures in embedders.values())
        self.padding_waste = round(1 - self.tokens / padded, 4) if padded else 0.0

    def take_receipts(self, receipts: pa.Table) -> None:
        """Add what a block's sinks acknowledged."""
        for receipt in receipts.drop_columns(["document_keys"]).to_pylist():
            for name in RECEIVED:
                self.rows[name] += receipt[name]
            self._received += receipt["embedded"]
            self._blocks += 1
            self.dead_samples = (self.dead_samples + receipt["samples"])[:MAX_SAMPLES]
            for reason in receipt["reasons"] or ():
                self._take_reason(**reason)

    def _take_reason(self, stage: str, type: str, rows: int, sample: str) -> None:
        """Add dead rows of one reason; once there are many reasons, new ones of a stage count together."""
        known = {(reason["stage"], reason["type"]): reason for reason in self.dead_reasons}
        if (stage, type) not in known and len(known) >= MAX_REASONS:
            type = OTHER_REASONS
        found = known.get((stage, type), {"stage": stage, "type": type, "rows": 0, "samples": []})
        samples = [*found["samples"], sample][:SAMPLES_A_REASON]
        grown = {**found, "rows": found["rows"] + rows, "samples": samples}
        # Replaced whole, as the stages are.
        self.dead_reasons = [*(one for one in self.dead_reasons if one is not found), grown]

    def take_losses(self, losses: Losses, *, at_end: bool = False) -> None:
        """Take over what was lost so far; a notice tells of figures that are lost for good."""
        self.nodes_lost, self.nodes_joined = losses.nodes_lost, losses.nodes_joined
        self.actors_restarted = losses.actors_restarted
        self.lost_figures = losses.figures
        if losses.figures and at_end:
            self.notices.append(
                "the process that counts was lost in the run: figures of the stages, tokens, and rows read, chunked "
                "and skipped may be too low, and blocks and rows embedded again are not known; rows written and "
                "dead are right"
            )

    def count_repeats(self) -> None:
        """Compare what models were given with the receipts of all blocks, once they are all there."""
        figures = [self.stages[name] for name in map(figures_of, self.embeddings) if name in self.stages]
        if figures and not self.lost_figures:
            given = max(int(one.get(BLOCKS, 0)) for one in figures)
            self.blocks_embedded_again = max(0, given - self._blocks)
            self.rows_embedded_again = max(0, int(figures[-1].get("rows", 0)) - self._received)

    @property
    def lost_work(self) -> bool:
        """Whether a node or a worker was lost, and all that was counted is known.

        A task that reads may have died between what it decided to skip and what it told of that.
        """
        counted = not self.stages.get("skip", {}).get(REREAD_ROWS)
        return counted and bool(self.nodes_lost or self.actors_restarted or self.blocks_embedded_again)

    @property
    def settled(self) -> int:
        """Rows whose fate is known: written, skipped or dead."""
        return sum(self.rows[name] for name in ("written", "skipped", "dead"))

    def exceeds(self, rate: float) -> bool:
        """Whether more than this part of the rows is dead: of those that are settled, and deletions."""
        return self.rows["dead"] > rate * (self.settled + self.deletions_read)

    def save(self, path: str | Path) -> None:
        """Write the report as JSON to a path or URL; see ``report.file.save``."""
        report_file.save(str(path), asdict(self))

    @staticmethod
    def refuse_foreign_file(path: str | Path) -> None:
        """Raise ConfigError where a file is there that is no run's report, and would be lost."""
        report_file.refuse_foreign_file(str(path))

    def begin(self, path: str | Path) -> None:
        """Write the first report; see ``report.file.begin``."""
        report_file.begin(str(path), asdict(self))

    def try_to_save(self, path: str | Path, patience: Patience | None = None) -> str | None:
        """Write the report, and return why it cannot be written, where that is so; see ``report.file.try_to_save``."""
        return report_file.try_to_save(str(path), asdict(self), patience)

    def write_page(self, path: str, patience: Patience | None = None) -> str | None:
        """Write the report as an HTML page, and return why it cannot be written, where that is so; that is logged too.

        Nothing is raised: a page is worth no run.
        """
        try:
            # Imported by need: it is written once, in the end.
            from pipelines.run.report.page.files import write_page
            from pipelines.run.report.page.page import page_of

            write_page(path, page_of(self), "report", patience)
        except Exception as error:
            why = str(error) if isinstance(error, FleetembedError) else f"{type(error).__name__}: {error}"
            log.warning("the report's page could not be written: %s", why)
            return why
        self.page = without_credentials(path)
        return None

    def show(self, console: Console) -> None:
        """Print the summary table, and the first dead letters; a notebook's cell shows the report as its value is."""
        if console.is_jupyter and not console.quiet:
            show_in_cell(self)
        else:
            summary.show(self, console)
        self._shown_in = None if console.quiet else running_cell()


def _token_lengths(figures: Figures) -> dict[str, list[int]]:
    """Take the bins of lengths out of an embedding's figures, the shortest first."""
    bins = {int(name.removeprefix(LENGTH)): int(value) for name, value in figures.items() if name.startswith(LENGTH)}
    return {"up_to": sorted(bins), "texts": [bins[longest] for longest in sorted(bins)]}


def _rounded(figures: Figures) -> Figures:
    figures = {name: value for name, value in figures.items() if name != STARTED_AT and not name.startswith(LENGTH)}
    return {name: int(value) if float(value).is_integer() else round(value, 3) for name, value in figures.items()}
