"""A job's plan: what would be read, embedded and written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from pipelines.notebook.view import Facts, Grid, Notes, View

if TYPE_CHECKING:
    from pipelines.job_plan import JobPlan

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
        "reads": _source(plan),
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


def _source(plan: JobPlan) -> str:
    if plan.collection is not None:
        # Reckoned from a sample of the points.
        return f"{plan.points:,} points of {plan.collection}, about {decimal(plan.bytes)}"
    files = "1 file" if plan.files == 1 else f"{plan.files:,} files"
    passed_over = f"; {plan.skipped_files:,} files of unknown kind are passed over" if plan.skipped_files else ""
    return f"{files}, {decimal(plan.bytes)}{passed_over}"


def _sink(sink: dict[str, Any]) -> str:
    there = f"it holds {sink['points']:,} points" if sink.get("exists") else "it will be created"
    return f"{sink['place']}; {there}"


def _short(facts: dict[str, Any]) -> str:
    return facts["fingerprint"][:12] if facts["fingerprint"] else ""
