"""Python values as rows in memory have them -> those that files have: of NumPy and pandas, Python's own."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

SIMPLE = frozenset((str, int, float, bool, type(None)))
# Named, because pandas need not be there.
NOTHING = frozenset(("NAType", "NaTType"))


def plain(value: Any) -> Any:
    """Turn NumPy's scalars and arrays into Python's, and pandas' NA and NaT into None, also inside of lists and dicts.

    Keys of dicts become those of JSON. What else there may be stays as it is. Raises RecursionError for what is nested
    too deeply, and ValueError for a dict with two keys that JSON does not tell apart.
    """
    kind = type(value)
    if kind in SIMPLE:
        return value
    if kind is dict:
        return plain_dict(value)
    if kind in (list, tuple):
        return [plain(its) for its in value]
    if isinstance(value, np.datetime64 | np.timedelta64):
        # Nanoseconds would become integers, as years do that Python cannot hold.
        found = value.astype(f"{'M8' if isinstance(value, np.datetime64) else 'm8'}[us]").item()
        return str(value) if isinstance(found, int) else found
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return [plain(its) for its in value] if value.dtype.kind in "OMm" else value.tolist()
    return None if kind.__name__ in NOTHING else value


def plain_dict(values: dict[Any, Any]) -> dict[Any, Any]:
    """Turn the values of a dict, and its keys into those of JSON; see ``plain``."""
    found = {key if type(key) is str else _json_key(key): plain(its) for key, its in values.items()}
    if len(found) < len(values):
        names = [_json_key(key) for key in values]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return found


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN or pandas' NA or NaT."""
    # A single number of NumPy is no float of Python unless it has 64 bits.
    is_nan = isinstance(value, float | np.floating) and value != value
    return value is None or bool(is_nan) or type(value).__name__ in NOTHING


def _json_key(key: Any) -> Any:
    """Write a key as JSON does; one that has no form there stays as it is."""
    if isinstance(key, str):
        return str(key)
    key = key.item() if isinstance(key, np.generic) else key
    return json.dumps(key) if key is None or isinstance(key, bool | int | float) else key
