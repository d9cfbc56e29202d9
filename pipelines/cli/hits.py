"""Prints the hits of a search."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipelines.one_line import printable

if TYPE_CHECKING:
    from pipelines.search import Hit, Searcher


def show_hits(hits: Sequence[Hit], console: Console, *, keys: Sequence[str] = (), text_key: str = "text") -> None:
    """Print hits as a table, a line each: score, document, ``keys`` of the payload, the beginning of the text."""
    if not hits:
        console.print("  nothing found", style="dim")
        return
    # Imported by need: --help does without.
    from pipelines.search.hits import shown_scores

    # Widths are set here: a table that is too wide takes them from the short columns first.
    columns = [("score", shown_scores([hit.score for hit in hits])), ("document", [hit.title for hit in hits])]
    columns += [(key, [_shown(hit.payload.get(key)) for hit in hits]) for key in keys]
    table = Table(box=None, show_header=bool(keys), pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    left = console.width - 2
    for name, values in columns:
        width = min(max(map(len, [name, *values])), console.width // 3)
        table.add_column(Text(printable(name)), width=width, no_wrap=True, overflow="ellipsis")
        left -= width + 2
    table.add_column(text_key, width=max(left, 8), no_wrap=True, overflow="ellipsis")
    table.columns[0].justify = "right"
    for row, hit in enumerate(hits):
        value = hit.payload.get(text_key)
        # Images have none.
        text = " ".join(("" if value is None else str(value))[: 4 * console.width].split())
        # As Text: brackets in a document are no markup.
        table.add_row(*(Text(printable(values[row])) for _, values in columns), Text(printable(text)))
    console.print(Padding(table, (0, 0, 0, 2)))


def show_answers(query: str, searcher: Searcher, console: Console, limit: int = 3) -> None:
    """Print the hits of a query: of each vector alone, and of all of them fused."""
    console.print(f"\n{query}", style="bold", markup=False, highlight=False)
    ways = [*searcher.default_vectors, None] if len(searcher.default_vectors) > 1 else searcher.default_vectors
    for way in ways:
        console.print(f" {way or 'fused'}", style="cyan")
        show_hits(searcher.search(query, way, limit), console)


def _shown(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
