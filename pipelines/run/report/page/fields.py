"""Reads a report's fields, whatever a report of another version, or a hand, has left there."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Report = Mapping[str, Any]


def table_of(value: Any) -> dict[str, Any]:
    """Take a value for names and values; empty where it is none."""
    return {str(key): some for key, some in value.items()} if isinstance(value, Mapping) else {}


def tables_of(value: Any) -> dict[str, dict[str, Any]]:
    """Take a value for names, each with names and values."""
    return {name: table_of(some) for name, some in table_of(value).items() if isinstance(some, Mapping)}


def list_of(value: Any) -> list[Any]:
    """Take a value for a list; empty where it is none."""
    return list(value) if isinstance(value, list | tuple) else []


def text_of(value: Any) -> str:
    """Show a value that is no table."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def embeddings_of(report: Report) -> list[str]:
    """Name the embeddings, in the order of their vectors."""
    models = tables_of(report.get("models"))
    names = (facts.get("embedding", name) for name, facts in models.items())
    return list(dict.fromkeys(name for name in names if isinstance(name, str)))


def figures_of_embedding(report: Report, embedding: str) -> dict[str, Any]:
    """Find the figures of an embedding among those of the stages."""
    stages = tables_of(report.get("stages"))
    return stages.get(f"embed {embedding}") or stages.get(embedding, {})


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[int] = ()) -> str:
    """Make a table that scrolls by itself; cells are escaped here, and those of columns ``numbers`` stand to the right.

    A column whose cells are all empty is left out.
    """
    cells = [list(row) for row in rows]
    kept = [at for at in range(len(head)) if any(row[at] for row in cells)]
    right = set(numbers)

    def line(row: Sequence[str], tag: str) -> str:
        inside = "".join(
            f"<{tag}{' class=number' if at in right else ''}>{html.escape(row[at])}</{tag}>" for at in kept
        )
        return f"<tr>{inside}</tr>"

    body = "\n".join(line(row, "td") for row in cells)
    return f'<div class="scroll"><table><thead>{line(head, "th")}</thead><tbody>\n{body}\n</tbody></table></div>'


def facts_list(facts: Iterable[tuple[str, str]]) -> str:
    """Make a list of names and what they are; those that are empty are left out."""
    rows = (f"<dt>{html.escape(name)}</dt><dd>{html.escape(told)}</dd>" for name, told in facts if told)
    return f"<dl>{''.join(rows)}</dl>"


def details(summary: str, body: str) -> str:
    """Put what few want to see behind a line that opens it."""
    return f"<details><summary>{html.escape(summary)}</summary>{body}</details>"
