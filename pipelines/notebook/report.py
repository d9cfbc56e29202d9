"""A run's report: what became of the rows, where the time went, and what is to be known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.notebook.view import Cell, Facts, Grid, Notes, View
from pipelines.run.report.summary import length_lines, loss_lines, stage_cells, told_sink, unknown_lines

if TYPE_CHECKING:
    from pipelines.run.report.report import RunReport

ALWAYS = ("read", "skipped", "embedded", "written", "dead")
# The corpus of a job that names none.
UNNAMED = "default"
STAGES = ("stage", "rows", "tokens", "cut texts", "padding", "seconds", "rows/s")


def report_view(report: RunReport) -> View:
    """Show a report."""
    by = {"ray": ", by Ray", "local": ", in one process", None: ""}[report.engine]
    # Who gave no name to the corpus need not be told one.
    corpus = "" if report.corpus == UNNAMED else f"{report.corpus}: "
    title = f"{corpus}{report.status} in {report.seconds:.1f} s{by}"
    counts = {name: number for name, number in report.rows.items() if number or name in ALWAYS}
    if counts.get("chunked") == counts["read"]:
        del counts["chunked"]
    models = [
        [name, str(facts.get("model", "")), str(facts.get("kind", "")), str(facts.get("dim") or "")]
        for name, facts in report.models.items()
    ]
    deleted = [] if report.deleted_points is None else [f"ids of deleted points: {report.deleted_points}"]
    return View(
        title,
        [
            Notes([report.error] if report.error else [], urgent=True),
            Grid(
                [name.replace("_", " ") for name in counts],
                [[Cell(f"{number:,}", strong=name == "dead" and number > 0) for name, number in counts.items()]],
                frozenset(name.replace("_", " ") for name in counts),
            ),
            Grid(STAGES, [_stage(name, values) for name, values in report.stages.items()], frozenset(STAGES[1:])),
            Grid(("vector", "model", "kind", "dimension"), models, frozenset(("dimension",))),
            Facts(_facts(report)),
            Notes([*length_lines(report), *unknown_lines(report), *deleted]),
            Notes([*loss_lines(report), *report.notices], urgent=True),
            Notes(
                report.dead_samples, urgent=True, heading=f"the first dead letters, of those in {report.dead_letters}"
            ),
        ],
    )


def _facts(report: RunReport) -> dict[str, str]:
    sinks = [sink for sink in report.sinks if "points" in sink]
    known = {f"{sink['type']} sink": told_sink(sink) for sink in sinks[:1]}
    known |= {f"{sink['type']} sink {number}": told_sink(sink) for number, sink in enumerate(sinks[1:], 2)}
    if report.page is not None:
        known["as a page"] = report.page
    known["start-up"] = f"{report.startup_seconds:.1f} s"
    if report.fingerprint:
        known["fingerprint"] = report.fingerprint[:12]
    return known


def _stage(name: str, values: dict[str, Any]) -> list[Cell | str]:
    rows, tokens, *others = stage_cells(values)
    return [name, rows, tokens, f"{values['truncated']:,.0f}" if values.get("truncated") else "", *others]
