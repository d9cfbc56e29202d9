"""Charts of a page: drawings as inline SVG that stretch with the page, and axes as text, which does not.

A drawing's coordinates go from 0 to 100 both ways, whatever its size; lines keep their width. Nothing of it needs a
script; each drawing tells in words what it shows.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipelines.run.report.page.numbers import mark, ticks

Color = Literal["read", "work", "sink", "bad", "other"]
STYLE = """
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)); gap: 14px 28px }
figure { margin: 0; min-width: 0 }
figcaption { font-weight: 600; overflow-wrap: anywhere }
figcaption small, .unit { font-weight: 400; color: var(--soft); font-size: 12px }
.plot { display: grid; grid-template-columns: max-content 1fr; grid-template-rows: 130px 20px; margin-top: 8px }
.plot svg { width: 100%; height: 100%; overflow: visible; display: block }
.y, .x { position: relative; font-size: 12px; color: var(--soft); font-variant-numeric: tabular-nums }
.y span { display: block; position: absolute; right: 0; transform: translateY(-50%); padding-right: 6px }
.y b { visibility: hidden; font-weight: 400; padding-right: 6px }
.x { grid-column: 2 }
.x span { position: absolute; transform: translateX(-50%); top: 3px; white-space: nowrap }
.x span.first { transform: none } .x span.last { transform: translateX(-100%) }
.unit { text-align: right; margin: 0 }
svg .grid { stroke: var(--line); stroke-width: 1; vector-effect: non-scaling-stroke }
svg .line { fill: none; stroke-width: 1.8; vector-effect: non-scaling-stroke; stroke-linejoin: round }
svg .area { opacity: .16; stroke: none }
svg .cut { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 5 4; vector-effect: non-scaling-stroke }
svg .shade { fill: var(--shade) }
.read { fill: var(--read) } .work { fill: var(--work) } .sink { fill: var(--sink) } .bad { fill: var(--bad) }
.other { fill: var(--other) }
.line.read { stroke: var(--read) } .line.work { stroke: var(--work) } .line.sink { stroke: var(--sink) }
.line.bad { stroke: var(--bad) } .line.other { stroke: var(--other) }
.key { display: inline-block; width: 18px; height: 10px; margin: 0 4px 0 10px; vertical-align: baseline }
.bars { display: grid; grid-template-columns: minmax(64px, max-content) 1fr max-content; gap: 5px 10px;
  align-items: center; font-variant-numeric: tabular-nums; margin: 10px 0 }
.bars > span:first-of-type { overflow-wrap: anywhere }
.bars svg { width: 100%; height: 14px; display: block; background: var(--shade); border-radius: 2px }
.bars .label { overflow-wrap: anywhere; max-width: 17em } .bars .value { text-align: right; white-space: nowrap }
@media (max-width: 560px) { .bars { grid-template-columns: minmax(60px, 32%) 1fr max-content; gap: 5px 7px } }
"""


@dataclass(frozen=True)
class Line:
    """A curve: ``across`` and ``up`` are in the axes' units."""

    color: Color
    across: Sequence[float] | npt.NDArray[np.float64]
    up: Sequence[float] | npt.NDArray[np.float64]
    name: str = ""


@dataclass(frozen=True)
class Bar:
    """A bar of a list: from ``start`` on, ``length`` long, in one unit with the others; ``value`` stands behind it."""

    label: str
    length: float
    value: str
    color: Color = "work"
    start: float = 0.0


@dataclass(frozen=True)
class Axis:
    """The axis at the bottom of a chart: where its marks are (0 to 1), their texts, and the unit of these."""

    marks: Sequence[tuple[float, str]]
    unit: str


def line_chart(
    title: str,
    about: str,
    lines: Sequence[Line],
    bottom: Axis,
    *,
    width: float,
    unit: str,
    shaded: float = 0.0,
    filled: bool = True,
) -> str:
    """Draw curves over 0 to ``width``; the part up to ``shaded`` is marked. ``about`` tells in words what they show."""
    levels = ticks(max((max(line.up, default=0.0) for line in lines), default=0.0))
    top = levels[-1]
    drawn = [f'<rect class="shade" x="0" y="0" width="{_at(shaded / width)}" height="100"/>'] if shaded else []
    drawn += _grid(levels, top)
    for line in lines:
        points = [(_at(x / width), _at(1 - y / top)) for x, y in zip(line.across, line.up, strict=True)]
        path = " ".join(f"{x},{y}" for x, y in points)
        if filled and points:
            drawn.append(f'<polygon class="area {line.color}" points="{points[0][0]},100 {path} {points[-1][0]},100"/>')
        drawn.append(f'<polyline class="line {line.color}" points="{path}"/>')
    key = "".join(
        f'<svg class="key" aria-hidden="true"><rect class="{line.color}" width="18" height="10"/></svg>'
        f"{html.escape(line.name)}"
        for line in lines
        if line.name
    )
    return _figure(title, unit + key, about, levels, drawn, bottom)


def columns(
    title: str,
    about: str,
    parts: Sequence[Sequence[tuple[float, Color]]],
    hints: Sequence[str],
    bottom: Axis,
    *,
    unit: str,
    cut: float | None = None,
) -> str:
    """Draw columns of equal width, each of parts that stand on one another; a line at ``cut`` (0 to 1 across).

    ``hints`` are shown where a pointer rests on a column.
    """
    levels = ticks(max((sum(height for height, _ in column) for column in parts), default=0.0))
    drawn, wide = _grid(levels, levels[-1]), 100 / max(1, len(parts))
    for number, (column, hint) in enumerate(zip(parts, hints, strict=True)):
        below = 0.0
        for height, color in column:
            top = _at(1 - (below + height) / levels[-1])
            place = f'x="{number * wide + 0.08 * wide:.2f}" y="{top}" width="{0.84 * wide:.2f}"'
            drawn.append(
                f'<rect class="{color}" {place} height="{_at(height / levels[-1])}"><title>{html.escape(hint)}'
                "</title></rect>"
            )
            below += height
    if cut is not None:
        drawn.append(f'<line class="cut" x1="{_at(cut)}" x2="{_at(cut)}" y1="-4" y2="100"/>')
    return _figure(title, unit, about, levels, drawn, bottom)


def bar_list(bars: Sequence[Bar], about: str, *, whole: float | None = None) -> str:
    """Draw bars with their labels before and their values behind them; the longest one, or ``whole``, is as wide as can
    be.
    """
    longest = whole or max((bar.start + bar.length for bar in bars), default=0.0) or 1.0
    rows = []
    for bar in bars:
        start, length = _at(bar.start / longest), _at(bar.length / longest)
        # A hair's breadth, so that what is there can be seen.
        wide = length if not bar.length else max(length, 0.3)
        rows.append(
            f'<span class="label">{html.escape(bar.label)}</span>'
            f'<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
            f'<rect class="{bar.color}" x="{start}" y="0" width="{wide}" height="10"/></svg>'
            f'<span class="value">{html.escape(bar.value)}</span>'
        )
    return f'<div class="bars" role="group" aria-label="{html.escape(about)}">{"".join(rows)}</div>'


def _figure(title: str, unit: str, about: str, levels: Sequence[float], drawn: Sequence[str], bottom: Axis) -> str:
    top = levels[-1]
    # Hidden, the widest label makes the column as wide as it is.
    widest = max((mark(level) for level in levels), key=len)
    side = "".join(f'<span style="top:{_at(1 - level / top)}%">{mark(level)}</span>' for level in levels)
    marks = "".join(
        f'<span style="left:{_at(place)}%"{_edge(place)}>{html.escape(text)}</span>' for place, text in bottom.marks
    )
    return (
        f"<figure><figcaption>{html.escape(title)} <small>{unit}</small></figcaption>"
        f'<div class="plot"><div class="y"><b>{widest}</b>{side}</div>'
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="{html.escape(about)}">'
        f'{"".join(drawn)}</svg><div class="x">{marks}</div></div>'
        f'<p class="unit">{html.escape(bottom.unit)}</p></figure>'
    )


def _edge(place: float) -> str:
    if place < 0.02:
        return ' class="first"'
    return ' class="last"' if place > 0.98 else ""


def _grid(levels: Sequence[float], top: float) -> list[str]:
    places = [_at(1 - level / top) for level in levels]
    return [f'<line class="grid" x1="0" x2="100" y1="{place}" y2="{place}"/>' for place in places]


def _at(share: float) -> float:
    """Give a place in a drawing, of its part of the whole."""
    return round(100 * min(max(share, 0.0), 1.0), 2)
