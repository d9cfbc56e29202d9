"""Lines of JSON -> columns, by orjson; where that and Python's own module might differ there are none."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from pipelines.sources.json_columns import OddError
from pipelines.sources.parts import Column, Columns
from pipelines.sources.rows import to_json

# Far below the depth at which Python gives up.
MOST_BRACKETS = 200
# So few that what is parsed of them is still in the processor's cache when it is put into columns.
PARSED_TOGETHER = 512
# Keys that few of the rows have make more work as columns than as rows.
MOST_GAPS = 4
# orjson reads an integer past 64 bits as a double, which is this at least.
_FIRST_WIDE = 2.0**63
MISSING = object()
_NESTED = {dict, list}


def json_columns(lines: Sequence[bytes | None], first: int, chosen: Collection[str] | None) -> Columns | None:
    """Parse lines, the first of which has that position, into columns of the ``chosen`` keys, or of all where None.

    Blank lines are left out. None where a line is no object, or might read otherwise by Python's module.
    """
    positions = np.arange(first, first + len(lines))
    if not all(lines):
        there = [at for at, line in enumerate(lines) if line != b""]
        positions, lines = positions[there], [lines[at] for at in there]
    pieces = (lines[start : start + PARSED_TOGETHER] for start in range(0, len(lines), PARSED_TOGETHER))
    try:
        values = values_by_key(list(map(orjson.loads, piece)) for piece in pieces)  # type: ignore[arg-type]
        if values is None:
            return None
        kinds = {name: set(map(type, its)) for name, its in values.items()}
        if any(its & _NESTED for its in kinds.values()) and any(_brackets(line) > MOST_BRACKETS for line in lines):
            return None
        wanted = values.keys() if chosen is None else values.keys() & set(chosen)
        return Columns(positions, {name: json_column(values[name], kinds[name]) for name in wanted})
    except (ValueError, TypeError, RecursionError, OddError):
        return None


def values_by_key(pieces: Iterable[list[Any]]) -> dict[str, list[Any]] | None:
    """List the values that rows, a piece after the other, have of each key, MISSING where a row has it not.

    None where a row is no object, or few have the keys of others.
    """
    values: dict[str, list[Any]] = {}
    cells = done = 0
    for rows in pieces:
        if set(map(type, rows)) != {dict}:
            return None
        cells += sum(map(len, rows))
        names = values.keys() | set().union(*rows)
        if len(names) * (done + len(rows)) > MOST_GAPS * cells:
            return None
        for name in names:
            its = values.setdefault(name, [MISSING] * done)
            try:
                its += map(itemgetter(name), rows)
            except KeyError:
                its[done:] = [row.get(name, MISSING) for row in rows]
        done += len(rows)
    return values


def _brackets(line: bytes | None) -> int:
    return 0 if line is None else line.count(b"[") + line.count(b"{")


def json_column(values: list[Any], kinds: set[type]) -> Column:
    """Put values, which have types of these ``kinds``, into a column; raises OddError for doubtful numbers."""
    missing = None
    if type(MISSING) in kinds:
        missing = pa.array([value is MISSING for value in values])
        values = [None if value is MISSING else value for value in values]
    kinds = kinds - {type(MISSING), type(None)}
    if kinds == {str}:
        return Column(pa.array(values, pa.large_string()), missing)
    if kinds == {bool}:
        return Column(pa.array(values, pa.bool_()), missing)
    if kinds == {int} and min(present := _present(values)) >= -(2**63) and max(present) < 2**63:
        return Column(pa.array(values, pa.int64()), missing)
    if kinds == {float} and max(map(abs, _present(values))) < _FIRST_WIDE:
        return Column(pa.array(values, pa.float64()), missing)
    if not kinds:
        return Column(pa.nulls(len(values)), missing)
    texts = list(map(to_json, values))
    if kinds != {int} and any("e+" in text for text in texts):
        raise OddError("a double that may be an integer past 64 bits")
    return Column(pa.array(texts, pa.large_string()), missing, is_json=True)


def _present(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if value is not None]
