"""The list of models: a table where the terminal is wide enough for whole names, else two lines a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from rich.console import Console
from rich.filesize import decimal
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from embedders.catalog import ModelCard
from embedders.errors import FleetembedError
from embedders.files.cache_state import CacheState, cache_state
from embedders.files.json_file import read_json_object
from embedders.length_limit import CONFIG, files_limit

COLORS = {"cached": "green", "damaged": "red", "incomplete": "yellow", "not cached": "dim"}
COLUMNS = ("family", "dim", "tokens", "size", "licence", "cache")
# A model, and an entry a column.
Row: TypeAlias = tuple[ModelCard, str, str, str, str, Text, Text]
GB = 1e9
ABOUT_TOKENS = (
    "tokens: what a text may have by the model's authors. Without max_length it is cut where the model's own files "
    "say, which may differ (all-MiniLM-L6-v2: 256, its files 512); of cached models that is told."
)


def print_list(cards: Sequence[ModelCard], cache_dir: Path | None, console: Console) -> None:
    """Print the models, no name broken at any width that has room for it, and how to read their tokens."""
    rows = [_row(card, cache_dir) for card in cards]
    for table in (_table(rows), _table(rows, by_family=True)):
        width = _width(table, console)
        # What is no terminal has no width of its own: lines stay whole for grep.
        if width <= console.width or not console.is_terminal:
            console.width = max(console.width, width)
            console.print(table)
            break
    else:
        _print_narrow(rows, console)
    restricted = sum(not card.commercial_use for card in cards)
    count = f"{len(cards)} models" + (f", {restricted} of them not for commercial use" if restricted else "")
    console.print(Text(count, style="dim"))
    console.print(Text(ABOUT_TOKENS, style="dim"), soft_wrap=not console.is_terminal)


def not_needed(state: CacheState, card: ModelCard) -> bool:
    """Whether a model that is not cached does without: the stop words of most languages come with a package."""
    return state.status == "not cached" and card.family == "bm25"


def status_text(state: CacheState, card: ModelCard) -> Text:
    """Say in a word what the cache holds of a model, or that nothing need be there."""
    if not_needed(state, card):
        return Text("not needed", style="dim")
    return Text(state.status, style=COLORS[state.status])


def cached_limit(state: CacheState) -> int | None:
    """Read where a cached model's files cut a text, in tokens; None for one that is not cached, or whose do not say."""
    try:
        return files_limit(read_json_object(state.folder / CONFIG, required=False)) if state.files else None
    except (FleetembedError, OSError):
        return None


def _table(rows: Sequence[Row], *, by_family: bool = False) -> Table:
    """Make a table with a line a model; ``by_family`` the family is a line above its models, and no column."""
    table = Table("model", *COLUMNS[by_family:], box=None, pad_edge=False)
    family = ""
    for row in rows:
        card, facts = row[0], row[2:] if by_family else row[1:]
        if by_family and card.family != family:
            family = card.family
            table.add_row(Text(family, style="bold"))
        table.add_row(card.model, *facts)
    _right(table, 1 if by_family else 2)
    return table


def _right(table: Table, first: int) -> None:
    for column in table.columns[first : first + 3]:
        column.justify = "right"
    for column in table.columns:
        column.no_wrap = True


def _width(table: Table, console: Console) -> int:
    return console.measure(table, options=console.options.update(width=1000)).maximum


def _print_narrow(rows: Sequence[Row], console: Console) -> None:
    """Print each name on a line, and the facts below it, in columns that all models share."""
    facts = Table(*COLUMNS, box=None, pad_edge=False)
    for row in rows:
        facts.add_row(*row[1:])
    _right(facts, 1)
    lines = console.render_lines(Padding(facts, (0, 0, 0, 2)), pad=False)
    console.print(Text("model", style="bold"))
    for number, line in enumerate(lines):
        if number:
            console.print(Text(rows[number - 1][0].model), soft_wrap=True)
        console.print(*[Text(part.text.rstrip("\n"), part.style or "") for part in line], sep="", soft_wrap=True)


def _row(card: ModelCard, cache_dir: Path | None) -> Row:
    state = cache_state(card, cache_dir)
    tokens = f"{card.max_tokens:,}" if card.max_tokens else ""
    licence = Text(card.license, style="" if card.commercial_use else "yellow")
    mark = status_text(state, card) if state.files else Text()
    if (limit := cached_limit(state)) is not None:
        mark.append(f", cut at {limit:,}", style="dim")
    return card, card.family, str(card.dim or ""), tokens, decimal(int(card.size_gb * GB)), licence, mark
