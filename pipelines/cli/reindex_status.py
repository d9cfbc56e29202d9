"""What ``fleetembed reindex status`` prints."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.reindex.status import Row, Status


def show_status(found: Status, console: Console) -> None:
    """Print a table, a line a collection, and below it what the alias names and what comes next."""
    table = Table("collection", "points", "state", "models", "", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for column in (table.columns[0], table.columns[2], table.columns[4]):
        column.no_wrap = True
    switch = "switch takes it" if found.refused is None else "switch is refused"
    marks = {found.switch_to: switch, found.rollback_to: "rollback takes it", found.names: "the alias"}
    for row in found.collections:
        models = ", ".join(f"{vector}: {model}" if vector else model for vector, model in row.models.items())
        mark = marks.get(row.collection, "")
        table.add_row(row.collection, f"{row.points:,}", _shown_state(row), Text(models), f"<- {mark}" if mark else "")
    if found.collections:
        console.print(table)
    lines = [f"the alias {found.alias} names {found.names or 'nothing yet'}; this job fills {found.collection}"]
    if found.switch_to is not None and found.refused is not None:
        lines.append(f"a switch to {found.switch_to} is refused: {found.refused}")
    elif found.refused is not None:
        lines.append(f"a switch is refused until a run has filled it to its end: {found.refused}")
    if found.clash is not None:
        lines.append(f"a switch is refused: {found.clash}; plan says the ways out")
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def _shown_state(row: Row) -> str:
    verified = {True: ", verified", False: ", failed verify", None: ""}[row.verified]
    return f"{row.state}{verified}"
