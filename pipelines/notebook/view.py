"""What is shown of a thing, before it is known where: a title, facts, tables and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

# Rows of a table and lines of notes that are shown; a word tells of the rest.
MOST_ROWS, MOST_NOTES = 50, 20
# Letters of a cell, of a note, and of a heading.
MOST_LETTERS, MOST_NOTE, MOST_HEADING = 240, 600, 80


@dataclass(frozen=True)
class Cell:
    """A text in a table; ``strong`` ones stand out. ``picture`` is a data URL that HTML shows in the text's place."""

    text: str
    strong: bool = False
    picture: str | None = None


@dataclass(frozen=True)
class Grid:
    """A table: headings, and rows of as many cells; columns in ``figures`` are numbers, aligned right.

    ``rows`` may be the first of ``total``.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    figures: frozenset[str] = frozenset()
    heading: str = ""
    total: int | None = None

    @property
    def shown(self) -> list[list[Cell]]:
        """The rows that are shown."""
        return [
            [cell if isinstance(cell, Cell) else Cell(cell) for cell in row]
            for row in self.rows[: min(MOST_ROWS, len(self.rows))]
        ]

    @property
    def trimmed(self) -> Grid:
        """The table without columns in which nothing is."""
        kept = [at for at in range(len(self.columns)) if any(row[at].text or row[at].picture for row in self.shown)]
        rows = [[row[at] for at in kept] for row in self.shown]
        total = len(self.rows) if self.total is None else self.total
        return replace(self, columns=[self.columns[at] for at in kept], rows=rows, total=total)

    @property
    def rest(self) -> int:
        """How many rows are not shown."""
        return max(len(self.rows) if self.total is None else self.total, len(self.rows)) - len(self.shown)


@dataclass(frozen=True)
class Notes:
    """Lines of prose; ``urgent`` ones are marked."""

    lines: Sequence[str]
    urgent: bool = False
    heading: str = ""


@dataclass(frozen=True)
class Facts:
    """Names and what is to be said of each."""

    known: Mapping[str, str]


Part: TypeAlias = Grid | Notes | Facts


@dataclass(frozen=True)
class View:
    """A title and what is below it, from top to bottom; parts without content are left out."""

    title: str
    parts: Sequence[Part] = field(default_factory=list)

    @property
    def filled(self) -> list[Part]:
        """The parts that have something to show."""
        filled = [part for part in self.parts if _content(part)]
        return [part.trimmed if isinstance(part, Grid) else part for part in filled]


def _content(part: Part) -> Any:
    return part.rows if isinstance(part, Grid) else part.lines if isinstance(part, Notes) else part.known
