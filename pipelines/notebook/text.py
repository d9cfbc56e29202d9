"""A view as plain text for a terminal: what ``repr`` returns."""

from __future__ import annotations

from collections.abc import Sequence
from shutil import get_terminal_size

from rich.cells import cell_len, set_cell_size

from pipelines.notebook.view import (
    MOST_HEADING,
    MOST_LETTERS,
    MOST_NOTE,
    MOST_NOTES,
    Facts,
    Grid,
    Notes,
    View,
)
from pipelines.one_line import one_line

# Cells that a table takes in a narrower terminal too, and that its widest columns keep at least.
WIDTH, LEAST = 120, 28


def to_text(view: View) -> str:
    """Write a view as lines."""
    lines = [one_line(view.title, MOST_LETTERS)] if view.title else []
    for part in view.filled:
        if isinstance(part, Grid):
            lines += _grid(part)
        elif isinstance(part, Notes):
            lines += [one_line(part.heading, MOST_NOTE)] if part.heading else []
            lines += [f"  {one_line(line, MOST_NOTE)}" for line in part.lines[:MOST_NOTES]]
            lines += [f"  and {len(part.lines) - MOST_NOTES:,} more"] if len(part.lines) > MOST_NOTES else []
        else:
            lines += _facts(part)
    return "\n".join(line.rstrip() for line in lines)


def _grid(grid: Grid) -> list[str]:
    # A picture has no place in a terminal.
    kept = [at for at in range(len(grid.columns)) if not any(row[at].picture for row in grid.shown)]
    columns = [grid.columns[at] for at in kept]
    headings = [one_line(name, MOST_HEADING) for name in columns]
    shown = [[one_line(row[at].text, MOST_LETTERS) for at in kept] for row in grid.shown]
    widths = _widths([headings, *shown], max(WIDTH, get_terminal_size((WIDTH, 24)).columns))
    lines = [
        "  " + "  ".join(_fitted(text, width, name in grid.figures, not name) for text, width, name in cells)
        for cells in (zip(row, widths, columns, strict=True) for row in [headings, *shown])
    ]
    heading = [grid.heading] if grid.heading else []
    return [*heading, *lines, *([f"  and {grid.rest:,} more"] if grid.rest else [])]


def _widths(rows: Sequence[Sequence[str]], most: int) -> list[int]:
    """Choose the columns' widths; the widest give up first what is too much for a line."""
    widths = [max(cell_len(text) for text in column) for column in zip(*rows, strict=True)]
    while sum(widths) + 2 * len(widths) > most and max(widths) > LEAST:
        widths[widths.index(max(widths))] -= 1
    return widths


def _fitted(text: str, width: int, right: bool, name: bool = False) -> str:
    """Put a text into so many cells. Names are cut in their middle: the ends of long ones tell them apart."""
    size = cell_len(text)
    if size > width:
        tail = text[-(width // 2) :] if name else ""
        return set_cell_size(f"{set_cell_size(text, width - 1 - cell_len(tail))}…{tail}", width)
    return " " * (width - size) + text if right else text + " " * (width - size)


def _facts(facts: Facts) -> list[str]:
    width = max(map(cell_len, facts.known))
    return [f"  {_fitted(name, width, False)}  {one_line(value, WIDTH)}" for name, value in facts.known.items()]
