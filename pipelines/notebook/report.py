"""A run's report: what became of the rows, where the time went, and what is to be known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.notebook.view import Cell, Facts, Grid, Notes, View

if TYPE_CHECKING:
    from pipelines.run.report.report import RunReport

ALWAYS = ("read", "skipped", "embedded", "written", "dead")
STAGES = ("stage", "rows", "tokens", "cut texts", "padding", "seconds", "rows/s")


def report_view(report: RunReport) -> View:
    """Show a report."""
    by = {"ray": ", by Ray", "local": ", in one process", None: ""}[report.engine]
    title = f"{report.corpus}: {report.status} in {report.seconds:.1f} s{by}"
    counts = {name: number for name, number in report.rows.items() if number or name in ALWAYS}
    if counts.get("chunked") == counts["read"]:
        del counts["chunked"]
    models = [
        [name, str(facts.get("model", "")), str(facts.get("kind", "")), str(facts.get("dim") or "")]
        for name, facts in report.models.items()
    ]
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
            Notes(report.notices, urgent=True),
            Notes(
                report.dead_samples, urgent=True, heading=f"the first dead letters, of those in {report.dead_letters}"
            ),
        ],
    )


def _facts(report: RunReport) -> dict[str, str]:
    sinks = [sink for sink in report.sinks if "points" in sink]
    known = {f"{sink['type']} sink": f"{sink['points']:,} points in {sink['place']}" for sink in sinks[:1]}
    known |= {
        f"{sink['type']} sink {number}": f"{sink['points']:,} points in {sink['place']}"
        for number, sink in enumerate(sinks[1:], 2)
    }
    if report.page is not None:
        known["as a page"] = report.page
    known["start-up"] = f"{report.startup_seconds:.1f} s"
    if report.fingerprint:
        known["fingerprint"] = report.fingerprint[:12]
    return known


def _stage(name: str, values: dict[str, Any]) -> list[Cell | str]:
    seconds, rows = values.get("seconds", 0), values.get("rows", 0)
    return [
        name,
        f"{rows:,.0f}",
        f"{values['tokens']:,.0f}" if values.get("tokens") else "",
        f"{values['truncated']:,.0f}" if values.get("truncated") else "",
        f"{values['padding_waste']:.1%}" if "padding_waste" in values else "",
        f"{seconds:.1f}",
        f"{rows / seconds:,.0f}" if seconds else "",
    ]
