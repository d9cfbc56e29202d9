"""Texts of documents on one line, without what a terminal or a browser would obey, and counts of things."""

from __future__ import annotations


def printable(text: str) -> str:
    """Replace by spaces what a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def one_line(text: str, letters: int) -> str:
    """Put a text on one line of so many letters at most, without what a terminal or a browser would obey."""
    # Cut before it is looked at: a document may have megabytes.
    cut = text[: 2 * letters]
    line = " ".join(printable(cut).split())
    return line if len(line) <= letters and len(cut) == len(text) else f"{line[: letters - 1].rstrip()}…"


def counted(number: int, thing: str) -> str:
    """Write how many things there are, as ``1 row`` or ``2,000 rows``."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
