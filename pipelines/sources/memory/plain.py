"""Python values as rows in memory have them -> those that files have: of NumPy and pandas, Python's own."""

from __future__ import annotations

from typing import Any

import numpy as np

SIMPLE = frozenset((str, int, float, bool, type(None)))
# Named, because pandas need not be there.
NOTHING = frozenset(("NAType", "NaTType"))


def plain(value: Any) -> Any:
    """Turn NumPy's scalars and arrays into Python's, and pandas' NA and NaT into None, also inside of lists and dicts.

    What else there may be stays as it is. Raises RecursionError for what is nested too deeply.
    """
    kind = type(value)
    if kind in SIMPLE:
        return value
    if kind is dict:
        return {key: plain(its) for key, its in value.items()}
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
