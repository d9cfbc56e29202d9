"""Numbers as a page shows them, and where the lines of an axis are."""

from __future__ import annotations

import math
from typing import Any

# NaN and infinity are none that can be shown, nor is what no float holds.
LARGEST = 1e300
MINUTE, HOUR = 60.0, 3600.0
# An axis goes over to the next unit where it would have larger numbers than this.
MOST_OF_A_UNIT = 180.0


def is_number(value: Any) -> bool:
    """Tell whether a value of a report is a number that can be shown."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def number(value: Any) -> float:
    """Take a value of a report for a number; 0 for what is none."""
    return float(value) if is_number(value) else 0.0


def count(value: Any) -> str:
    """Show a whole number, or a large one, with commas: ``12,345``."""
    return f"{round(number(value)):,}"


def amount(value: Any) -> str:
    """Show a number with three figures or more: ``0.012``, ``3.46``, ``12,345``."""
    known = number(value)
    if known == 0 or abs(known) >= 100:
        return f"{known:,.0f}"
    if abs(known) < 1e-4:
        return f"{known:.1e}"
    return f"{known:.{max(0, 2 - math.floor(math.log10(abs(known))))}f}"


def mark(value: float) -> str:
    """Show a round number beside an axis, no longer than it is: ``0.5``, ``20``, ``1,000``."""
    return f"{value:,.6f}".rstrip("0").rstrip(".")


def seconds(value: Any) -> str:
    """Show a time: ``0.4 s``, ``12.3 s``, ``4 min 05 s``, ``2 h 10 min``."""
    known = number(value)
    if known < MOST_OF_A_UNIT:
        return f"{known:.1f} s"
    whole = round(known)
    if known < 2 * HOUR:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(known / 60)
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def share(value: float) -> str:
    """Show a part of a whole: ``12.3%``."""
    return f"{100 * value:.1f}%"


def size(value: Any) -> str:
    """Show bytes in the largest unit that leaves 1 or more: ``31.3 GiB``."""
    known = number(value)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if known < 1024:
            return f"{known:.0f} {unit}" if unit == "bytes" else f"{known:.1f} {unit}"
        known /= 1024
    return f"{known:,.1f} TiB"


def time_unit(longest: float) -> tuple[str, float]:
    """Choose the unit of an axis of time: its name, and its seconds."""
    if longest <= MOST_OF_A_UNIT:
        return "seconds", 1.0
    return ("minutes", MINUTE) if longest <= MOST_OF_A_UNIT * MINUTE else ("hours", HOUR)


def ticks(highest: float, most: int = 4) -> list[float]:
    """List round numbers from 0 on, of which the last is ``highest`` or a little more; at most ``most`` steps."""
    if not highest > 0:
        return [0.0, 1.0]
    step = 10.0 ** math.floor(math.log10(highest / most))
    step *= next(factor for factor in (1, 2, 5, 10, 20) if math.ceil(highest / (factor * step) - 1e-9) <= most)
    return [step * at for at in range(max(1, math.ceil(highest / step - 1e-9)) + 1)]
