"""A job's plan: what would be read, embedded and written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from pipelines.notebook.view import Facts, Grid, Notes, View

if TYPE_CHECKING:
    from pipelines.pipeline import JobPlan

# Columns of data in memory that are named.
SHOWN_COLUMNS = 20
COLUMNS = ("vector", "model", "kind", "dimension", "precision", "fingerprint")


def plan_view(plan: JobPlan) -> View:
    """Show a plan."""
    models = [
        [name, facts["model"], facts["kind"], str(facts["dim"] or ""), facts.get("precision") or "", _short(facts)]
        for name, facts in plan.models.items()
    ]
    places = {f"{sink['type']} sink": _sink(sink) for sink in plan.sinks[:1]}
    places |= {f"{sink['type']} sink {number}": _sink(sink) for number, sink in enumerate(plan.sinks[1:], 2)}
    facts = {
        "reads": source_of(plan),
        **places,
        "report": plan.report,
        "dead letters": plan.dead_letters,
        "fingerprint": "known once the length is measured" if plan.fingerprint is None else plan.fingerprint[:12],
    }
    return View(
        "A job's plan; nothing was changed",
        [
            Facts(facts),
            Grid(COLUMNS, models, frozenset(("dimension",))),
            Notes([*plan.deletions, *plan.placement]),
            Notes(plan.notices, urgent=True),
        ],
    )


def source_of(plan: JobPlan) -> str:
    """Say what is read: files, a collection's points, data in memory, or what Ray gives."""
    if plan.data is not None:
        return _rows_of(plan, plan.data)
    if plan.collection is not None:
        # Reckoned from a sample of the points.
        return f"{plan.points:,} points of {plan.collection}, about {decimal(plan.bytes)}"
    files = "1 file" if plan.files == 1 else f"{plan.files:,} files"
    passed_over = f"; {plan.skipped_files:,} files of unknown kind are passed over" if plan.skipped_files else ""
    return f"{files}, {decimal(plan.bytes)}{passed_over}"


def _rows_of(plan: JobPlan, data: str) -> str:
    rows = f"what {data} gives" if plan.rows is None else f"{plan.rows:,} rows of {_with_article(data)}"
    size = f", about {decimal(plan.bytes)}" if plan.bytes else ""
    if plan.columns is None:
        return f"{rows}{size}" if plan.rows is not None else f"{rows}{size}; its columns are known once it is read"
    more = ", ..." if len(plan.columns) > SHOWN_COLUMNS else ""
    return f"{rows}{size}; columns: {', '.join(plan.columns[:SHOWN_COLUMNS])}{more}"


def _with_article(data: str) -> str:
    """Write ``a list of texts``; names of types stay."""
    return f"a {data}" if " of " in data else data


def _sink(sink: dict[str, Any]) -> str:
    there = f"it holds {sink['points']:,} points" if sink.get("exists") else "it will be created"
    return f"{sink['place']}; {there}"


def _short(facts: dict[str, Any]) -> str:
    return facts["fingerprint"][:12] if facts["fingerprint"] else ""
