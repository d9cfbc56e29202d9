"""What a job's plan says in words, on a terminal and in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from pipelines.one_line import counted

if TYPE_CHECKING:
    from pipelines.job_plan import JobPlan

MOST_COLUMNS = 20


def told_source(plan: JobPlan) -> str:
    """Say what would be read."""
    if plan.data is not None:
        return _told_data(plan)
    if plan.collection is not None:
        # Reckoned from a sample of the points.
        return f"{counted(plan.points or 0, 'point')} of {plan.collection}, about {decimal(plan.bytes)}"
    files = counted(plan.files, "file")
    passed_over = f"; {plan.skipped_files:,} files of unknown kind are passed over" if plan.skipped_files else ""
    return f"{files}, {decimal(plan.bytes)}{passed_over}"


def _told_data(plan: JobPlan) -> str:
    """Say what is read of data in memory, or by Ray."""
    data = plan.data or ""
    rows = f"what {data} gives" if plan.rows is None else f"{counted(plan.rows, 'row')} of {_with_article(data)}"
    size = f", about {decimal(plan.bytes)}" if plan.bytes else ""
    if plan.columns is None:
        return f"{rows}{size}" if plan.rows is not None else f"{rows}{size}; its columns are known once it is read"
    more = ", ..." if len(plan.columns) > MOST_COLUMNS else ""
    return f"{rows}{size}; columns: {', '.join(plan.columns[:MOST_COLUMNS])}{more}"


def _with_article(data: str) -> str:
    """Write ``a list of texts``; names of types stay."""
    return f"a {data}" if " of " in data else data


def told_sink(sink: dict[str, Any]) -> str:
    """Say where a sink would write, and what is there."""
    there = f"it holds {counted(sink['points'], 'point')}" if sink.get("exists") else "it will be created"
    return f"{sink['place']}; {there}"


def told_model(facts: dict[str, Any]) -> list[str]:
    """Say a vector's model, kind, dimension, precision and fingerprint, each in a word."""
    known = [str(facts.get(key) or "") for key in ("model", "kind", "dim", "precision")]
    return [*known, told_fingerprint(facts["fingerprint"])]


def told_fingerprint(fingerprint: str | None) -> str:
    """Shorten a fingerprint; None is one that depends on a length which is not measured yet."""
    return "known once the length is measured" if fingerprint is None else fingerprint[:12]
