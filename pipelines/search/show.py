"""What a search found, on the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.search.hits import Hit
from pipelines.search.searcher import Searcher


def show_hits(hits: Sequence[Hit], console: Console, *, keys: Sequence[str] = (), text_key: str = "text") -> None:
    """Print hits as a table, a line each: score, document, some of the payload's keys, the beginning of the text."""
    if not hits:
        console.print("  nothing found", style="dim")
        return
    table = Table(box=None, show_header=bool(keys), pad_edge=True, padding=(0, 1), header_style="dim")
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("document", no_wrap=True, overflow="ellipsis", max_width=console.width // 3)
    for key in keys:
        width = min(max(len(key), *(len(_shown(hit.payload.get(key))) for hit in hits)), console.width // 4)
        table.add_column(key, no_wrap=True, overflow="ellipsis", width=width)
    table.add_column(text_key, no_wrap=True, overflow="ellipsis", ratio=1)
    for hit in hits:
        values = [Text(_shown(hit.payload.get(key))) for key in keys]
        text = " ".join(str(hit.payload.get(text_key, ""))[: 4 * console.width].split())
        # As Text: brackets in a document are no markup.
        table.add_row(f"{hit.score:.3f}", Text(hit.title), *values, Text(text))
    console.print(table)


def show_answers(query: str, searcher: Searcher, console: Console, limit: int = 3) -> None:
    """Print what each vector alone, and all of them fused, find for a query."""
    console.print(f"\n{query}", style="bold", markup=False, highlight=False)
    ways = [*searcher.default_vectors, None] if len(searcher.default_vectors) > 1 else searcher.default_vectors
    for way in ways:
        console.print(f" {way or 'fused'}", style="cyan")
        show_hits(searcher.search(query, way, limit), console)


def _shown(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
