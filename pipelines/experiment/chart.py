"""The charts of an experiment: quality against what it costs, or how much of their results settings share.

Greys and a transparent background suit a light page and a dark one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipelines.errors import ConfigError
from pipelines.evaluation.report.labels import BESIDE, place_labels

if TYPE_CHECKING:
    import pandas as pd

WIDTH, HEIGHT, CELL = 380, 280, 44
# Letters of a label in the plot.
LETTERS = 36
QUALITY = "nDCG@10"
INK = "#808080"
# Cells of the overlap are opaque, and their numbers are of a colour that shows on them.
CELLS, ON_LIGHT, ON_DARK = ["#e8eff7", "#2b5c8f"], "#202020", "#ffffff"
PANELS = {"bytes/doc": "bytes a document (log scale)", "embed ms": "ms to embed a document (log scale)"}
MISSING = "the chart needs altair: pip install 'fleetembed[evaluate]'"


def quality_chart(frame: pd.DataFrame, title: str) -> Any:
    """Build a chart of two panels: nDCG@10 against bytes a document, and against milliseconds to embed one."""
    alt = _altair()
    measured = frame[frame[QUALITY].notna()]
    if measured.empty:
        raise ConfigError("there is nothing to draw: no setting was measured")
    costs = {"bytes/doc": measured["bytes/doc"], "embed ms": 1000 / measured["docs/s"]}
    panels = [
        _panel(
            alt, list(measured.index), list(measured[QUALITY]), [max(float(cost), 1e-3) for cost in costs[name]], axis
        )
        for name, axis in PANELS.items()
        if costs[name].notna().all()
    ]
    return _dressed(alt, alt.hconcat(*panels, spacing=36), title, "above and to the left is better")


def agreement_chart(overlap: pd.DataFrame, title: str) -> Any:
    """Build a chart of the shares of results that any two settings have in common."""
    alt = _altair()
    if overlap.empty or overlap.isna().all(axis=None):
        raise ConfigError("there is nothing to draw: no queries were asked")
    rows = [
        {"one": _shown(one), "other": _shown(other), "share": float(overlap.loc[one, other])}
        for one in overlap.index
        for other in overlap.columns
    ]
    side = CELL * len(overlap)
    base = alt.Chart({"values": rows}).encode(
        x=alt.X("other:N", title=None, sort=None, axis=alt.Axis(labelAngle=-30, labelLimit=220)),
        y=alt.Y("one:N", title=None, sort=None, axis=alt.Axis(labelLimit=220)),
    )
    scale = alt.Scale(domain=[0, 1], range=CELLS)
    ink = alt.condition("datum.share > 0.5", alt.value(ON_DARK), alt.value(ON_LIGHT))
    cells = base.mark_rect().encode(color=alt.Color("share:Q", scale=scale, legend=None))
    numbers = base.mark_text(fontSize=12).encode(text=alt.Text("share:Q", format=".2f"), color=ink)
    chart = (cells + numbers).properties(width=max(side, 160), height=max(side, 120))
    return _dressed(alt, chart, title, "share of the first ten results that two settings have in common")


def _altair() -> Any:
    try:
        import altair
    except ImportError:
        raise ConfigError(MISSING) from None
    return altair


def _dressed(alt: Any, chart: Any, title: str, under: str) -> Any:
    chart = chart.properties(
        title=alt.Title(title, subtitle=under, anchor="start", offset=10), background="transparent"
    )
    axes = {"labelColor": INK, "titleColor": INK, "domainColor": INK, "tickColor": INK, "tickOpacity": 0.5}
    return (
        chart.configure_title(color=INK, subtitleColor=INK)
        .configure_axis(gridColor=INK, gridOpacity=0.25, domainOpacity=0.5, **axes)
        .configure_view(stroke=None)
    )


def _shown(label: str) -> str:
    """Leave out the middle of a long label."""
    return label if len(label) <= LETTERS else f"{label[: LETTERS // 2]}…{label[1 - LETTERS // 2 :]}"


def _panel(alt: Any, labels: Sequence[str], quality: Sequence[float], costs: Sequence[float], title: str) -> Any:
    room = max((max(costs) / min(costs)) ** 0.15, 1.6)
    left, right = min(costs) / room, max(costs) * room
    pad = max((max(quality) - min(quality)) * 0.15, 0.01)
    low, high = min(quality) - pad, max(quality) + pad
    points = [
        (math.log(cost / left) / math.log(right / left) * WIDTH, (high - value) / (high - low) * HEIGHT)
        for cost, value in zip(costs, quality, strict=True)
    ]
    offsets = place_labels(points, [_shown(label) for label in labels], WIDTH, HEIGHT)
    rows = [
        {"label": label, "text": _shown(label), "x": cost, "y": value, "right": offset[0], "down": offset[1]}
        for label, cost, value, offset in zip(labels, costs, quality, offsets, strict=True)
        if offset is not None
    ]
    base = (
        alt.Chart({"values": rows})
        .properties(width=WIDTH, height=HEIGHT)
        .encode(
            x=alt.X(
                "x:Q",
                title=title,
                scale=alt.Scale(type="log", domain=[left, right]),
                axis=alt.Axis(format="~s", tickCount=5),
            ),
            y=alt.Y("y:Q", title=QUALITY, scale=alt.Scale(domain=[low, high]), axis=alt.Axis(format=".2f")),
            tooltip=[alt.Tooltip("label:N"), alt.Tooltip("y:Q", title=QUALITY, format=".4f"), alt.Tooltip("x:Q")],
        )
    )
    align = alt.expr("datum.right > 0 ? 'left' : datum.right < 0 ? 'right' : 'center'")
    moved_x, moved_y = alt.expr("datum.right"), alt.expr("datum.down")
    dots = base.mark_point(size=90, filled=True, opacity=0.9).encode(
        color=alt.Color("label:N", sort=None, legend=None, scale=alt.Scale(scheme="tableau10"))
    )
    texts = base.mark_text(align=align, dx=moved_x, dy=moved_y, baseline="middle", fontSize=11, color=INK)
    leaders = base.transform_filter(f"abs(datum.right) > {BESIDE}").mark_rule(
        x2Offset=moved_x, y2Offset=moved_y, color=INK, opacity=0.5, strokeWidth=0.8
    )
    leaders = leaders.encode(x2=alt.X2(field="x"), y2=alt.Y2(field="y"))
    return alt.layer(leaders, dots, texts.encode(text=alt.Text("text:N")))
