"""A job's plan: what would be read, embedded and written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.notebook.view import Facts, Grid, Notes, View
from pipelines.planned import told_fingerprint, told_model, told_sink, told_source

if TYPE_CHECKING:
    from pipelines.job_plan import JobPlan

NO_SINK = "none: the rows are for embed(), to_arrow(), to_pandas() and to_numpy()"
COLUMNS = ("vector", "model", "kind", "dimension", "precision", "fingerprint")


def plan_view(plan: JobPlan) -> View:
    """Show a plan."""
    models = [[name, *told_model(facts)] for name, facts in plan.models.items()]
    places = {f"{sink['type']} sink": told_sink(sink) for sink in plan.sinks[:1]} or {"sink": NO_SINK}
    places |= {f"{sink['type']} sink {number}": told_sink(sink) for number, sink in enumerate(plan.sinks[1:], 2)}
    facts = {
        "reads": told_source(plan),
        **places,
        **({"report": plan.report, "dead letters": plan.dead_letters} if plan.sinks else {}),
        "fingerprint": told_fingerprint(plan.fingerprint),
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
