"""Values of a row in one short line each: texts cut, vectors by their first numbers and their size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipelines.one_line import printable
from pipelines.sources.memory.plain import is_missing

MOST_CHARACTERS = 100
FIRST_NUMBERS = 4


def shown_value(value: Any) -> str:
    """Show a value of a preview: a text, a vector of any kind, an error, or whatever else stands there."""
    if isinstance(value, Mapping) and set(value) == {"indices", "values"}:
        return _shown_terms(value["indices"], value["values"])
    if isinstance(value, Mapping) and set(value) == {"stage", "type", "message"}:
        # Whole: what mends it stands at its end.
        return printable(f"{value['stage']}: {value['type']}: {value['message']}")
    if isinstance(value, (np.ndarray, list, tuple)):
        return _shown_vectors(value) if len(value) and np.ndim(value[0]) else _shown_numbers(value)
    return "" if is_missing(value) else _shown_text(str(value))


def _shown_text(text: str) -> str:
    line = printable(text[: MOST_CHARACTERS + 1])
    return line if len(text) <= MOST_CHARACTERS else f"{line[:MOST_CHARACTERS]}… {len(text):,} characters"


def _shown_numbers(numbers: Any) -> str:
    first = ", ".join(_shown_number(number) for number in numbers[:FIRST_NUMBERS])
    return f"[{first}]" if len(numbers) <= FIRST_NUMBERS else f"[{first}, … {len(numbers):,}]"


def _shown_vectors(vectors: Any) -> str:
    count = "1 vector" if len(vectors) == 1 else f"{len(vectors):,} vectors"
    more = ", …" if len(vectors) > 1 else ""
    return f"[{_shown_numbers(vectors[0])}{more}] {count}"


def _shown_terms(indices: Any, weights: Any) -> str:
    first = zip(indices[:FIRST_NUMBERS], weights[:FIRST_NUMBERS], strict=True)
    shown = ", ".join(f"{index}: {_shown_number(weight)}" for index, weight in first)
    more = ", …" if len(indices) > FIRST_NUMBERS else ""
    return f"{{{shown}{more}}} {len(indices):,} term{'' if len(indices) == 1 else 's'}"


def _shown_number(number: Any) -> str:
    return f"{number:.3f}" if isinstance(number, (float, np.floating)) else str(number)
