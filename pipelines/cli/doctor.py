"""``fleetembed doctor``: what this machine has of all that embedding needs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from pipelines.cli.app import App
from pipelines.cli.consoles import make_console

if TYPE_CHECKING:
    from pipelines.doctor.finding import Finding

app = App()
MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "wrong": ("wrong", "red")}
WRONG = 1


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Look at GPUs and their libraries, ONNX Runtime's providers, memory, disk, the hub and Ray.

    Each provider computes a small graph: what is listed as working does work. Exit codes: 0 all well; 1
    something is, and the line below it says what mends it; 2 bad usage.
    """
    # What --help does without is imported by need.
    from pipelines.doctor.driver import look_at_graphics
    from pipelines.doctor.gpu import gpu_findings
    from pipelines.doctor.machine import machine_findings

    findings = [*machine_findings(), *gpu_findings(look_at_graphics())]
    if as_json:
        print(json.dumps([asdict(one) for one in findings], indent=2))
    else:
        _show(findings)
    raise typer.Exit(WRONG if any(one.status == "wrong" for one in findings) else 0)


def _show(findings: list[Finding]) -> None:
    console = make_console()
    table = Table(box=None, show_header=False, pad_edge=False)
    for column in ("status", "name", "told"):
        table.add_column(column, overflow="fold")
    for one in findings:
        mark, color = MARKS[one.status]
        table.add_row(Text(mark, style=color), one.name, Text(one.told))
        if one.mend:
            table.add_row("", "", Text(f"-> {one.mend}", style="bold"))
    console.print(table)
