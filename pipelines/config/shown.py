"""Values of users in messages, which never hold more than a line of data."""

from __future__ import annotations

from typing import Any

# Characters of one value: so much tells which one it is.
MOST = 80


def shown(value: Any) -> str:
    """Write a value as Python would, in one line and cut; of what is no text or number, its kind alone."""
    if not isinstance(value, str | int | float | bool | None):
        return f"a {type(value).__name__}"
    # A long text is cut first: to write it all would take long.
    text = repr(value[: MOST + 1] if isinstance(value, str) else value)
    return text if len(text) <= MOST else f"{text[: MOST - 3]}...{text[0] if isinstance(value, str) else ''}"


def cut(text: str) -> str:
    """Cut a key, or a text that stands without quotes, to one line."""
    line = " ".join(text[: MOST + 1].split())
    return line if len(text) <= MOST else f"{line[: MOST - 3]}..."
