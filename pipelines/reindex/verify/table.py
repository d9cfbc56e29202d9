"""A verification as a table for the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.reindex.verify.result import Verification

COLORS = {"passed": "green", "failed": "bold red", "reported": "cyan", "skipped": "dim"}
# Narrower than this, what is wanted stands below what was found.
WIDE = 100
# So wide the table is at most, in a log too.
WIDEST = 120


def show_verification(found: Verification, console: Console) -> None:
    """Print a line a check, below them samples of what failed and what mends it, and the verdict."""
    old = f", beside {found.old}" if found.old else ""
    console.print(Text(f"{found.collection} ({found.points:,} points) at {found.address}{old}"), soft_wrap=True)
    width = min(console.width, WIDEST)
    wide = width >= WIDE
    headings = ["check", "", "found", *(["wanted"] if wide else [])]
    table = Table(*headings, box=box.SIMPLE, padding=(0, 1), pad_edge=False)
    table.columns[1].no_wrap = True
    for check in found.checks:
        said = check.found if wide or not check.wanted else f"{check.found}\nwanted: {check.wanted}"
        row = [Text(check.name), Text(check.outcome, style=COLORS[check.outcome]), Text(said)]
        table.add_row(*row, *([Text(check.wanted)] if wide else []))
    console.print(table, width=width)
    for check in found.checks:
        style = "red" if check.outcome == "failed" else ""
        for sample in check.samples:
            console.print(Text(f"{check.name}: {sample}", style=style), soft_wrap=True)
    for check in found.checks:
        if check.mend:
            console.print(Text(f"what next for {check.name}: {check.mend}"), soft_wrap=True)
    console.print(Text(verdict(found), style="green" if found.passed else "red"), soft_wrap=True)


def verdict(found: Verification) -> str:
    """Say whether the alias may move, and what stands against it."""
    names = ", ".join(check.name for check in found.failed)
    said = (
        f"verified in {found.seconds:,.1f} s" if found.passed else f"not verified: {len(found.failed)} failed ({names})"
    )
    if found.alias is None:
        return (
            f"{said}: {found.collection} at {found.address} may take the place of {found.old}" if found.passed else said
        )
    if found.is_named:
        return f"{said}: {found.alias} names {found.collection}"
    if not found.passed:
        return f"{said}; {found.alias} stays where it is"
    if found.clash is not None:
        return f"{said}, but {found.alias} cannot name {found.collection} yet, and a switch is refused\n{found.clash}"
    return f"{said}: {found.alias} may name {found.collection}"
