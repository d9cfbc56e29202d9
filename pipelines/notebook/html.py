"""A view as HTML for a notebook's cell: bounded, escaped, and in the page's own colours, light or dark."""

from __future__ import annotations

from html import escape

from pipelines.notebook.view import (
    MOST_HEADING,
    MOST_LETTERS,
    MOST_NOTE,
    MOST_NOTES,
    Cell,
    Facts,
    Grid,
    Notes,
    View,
)
from pipelines.one_line import one_line

# Nothing but `currentColor` and half-transparent greys: the notebook's theme decides what is behind. Columns are as
# wide as their content. The class is named twice, so that it goes before a notebook's own style of tables.
STYLE = """
.fleetembed{color:inherit;font-size:13px;line-height:1.45;max-width:1200px;overflow-x:auto}
.fleetembed.fleetembed p{margin:.3em 0}
.fleetembed.fleetembed .title{font-weight:600;font-size:14px}
.fleetembed.fleetembed .faint{opacity:.7}
.fleetembed.fleetembed .urgent{border-left:3px solid rgba(215,140,20,.8);padding-left:.6em}
.fleetembed.fleetembed table{border-collapse:collapse;border:0;color:inherit;margin:.4em 0;table-layout:auto;width:auto;
font-size:inherit;font-variant-numeric:tabular-nums}
.fleetembed.fleetembed th,.fleetembed.fleetembed td{border:0;color:inherit;border-bottom:1px solid rgba(128,128,128,.3);
padding:3px 8px;text-align:left;vertical-align:top;max-width:60ch;overflow-wrap:break-word;white-space:normal}
.fleetembed.fleetembed th{border-bottom:1px solid rgba(128,128,128,.7);font-weight:600}
.fleetembed.fleetembed td:first-child:not(.n){min-width:8em}
.fleetembed.fleetembed .n{text-align:right;white-space:nowrap}
.fleetembed.fleetembed td.k{opacity:.7;white-space:nowrap}
.fleetembed.fleetembed b{font-weight:700}
.fleetembed.fleetembed img{max-height:96px;max-width:144px;display:block}
"""


def to_html(view: View) -> str:
    """Write a view as one ``div`` with its style."""
    parts = [f'<p class="title">{escape(one_line(view.title, MOST_LETTERS))}</p>'] if view.title else []
    for part in view.filled:
        if isinstance(part, Grid):
            parts += _grid(part)
        elif isinstance(part, Notes):
            parts += _notes(part)
        else:
            parts += _facts(part)
    return f'<div class="fleetembed"><style>{STYLE}</style>\n' + "\n".join(parts) + "\n</div>"


def _grid(grid: Grid) -> list[str]:
    classes = [' class="n"' if name in grid.figures else "" for name in grid.columns]
    head = "".join(
        f"<th{kind}>{escape(one_line(name, MOST_HEADING))}</th>"
        for name, kind in zip(grid.columns, classes, strict=True)
    )
    rows = [
        f"<tr>{''.join(f'<td{kind}>{_cell(cell)}</td>' for cell, kind in zip(row, classes, strict=True))}</tr>"
        for row in grid.shown
    ]
    table = f"<table><thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(rows) + "\n</tbody></table>"
    heading = [f"<p>{escape(grid.heading)}</p>"] if grid.heading else []
    rest = [f'<p class="faint">and {grid.rest:,} more</p>'] if grid.rest else []
    return [*heading, table, *rest]


def _cell(cell: Cell) -> str:
    text = escape(one_line(cell.text, MOST_LETTERS))
    if cell.picture is not None:
        return f'<img src="{escape(cell.picture)}" alt="{text}">'
    return f"<b>{text}</b>" if cell.strong else text


def _notes(notes: Notes) -> list[str]:
    kind = ' class="urgent"' if notes.urgent else ' class="faint"'
    heading = [f"<p{kind}>{escape(one_line(notes.heading, MOST_NOTE))}</p>"] if notes.heading else []
    lines = [f"<p{kind}>{escape(one_line(line, MOST_NOTE))}</p>" for line in notes.lines[:MOST_NOTES]]
    rest = len(notes.lines) - MOST_NOTES
    return [*heading, *lines, *([f"<p{kind}>and {rest:,} more</p>"] if rest > 0 else [])]


def _facts(facts: Facts) -> list[str]:
    rows = "".join(
        f'<tr><td class="k">{escape(name)}</td><td>{escape(one_line(value, MOST_LETTERS))}</td></tr>'
        for name, value in facts.known.items()
    )
    return [f"<table><tbody>{rows}</tbody></table>"]
