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

WIDTH, HEIGHT, CELL = 340, 260, 44
QUALITY = "nDCG@10"
INK, FAINT = "#808080", "rgba(128,128,128,0.25)"
PANELS = {"bytes a document": "bytes a document (log scale)", "embed ms": "ms to embed a document (log scale)"}
MISSING = "the chart needs altair: pip install 'fleetembed[evaluate]'"


def quality_chart(frame: pd.DataFrame, title: str) -> Any:
    """Build a chart of two panels: nDCG@10 against bytes a document, and against milliseconds to embed one."""
    alt = _altair()
    measured = frame[frame[QUALITY].notna()]
    if measured.empty:
        raise ConfigError("there is nothing to draw: no setting was measured")
    costs = {"bytes a document": measured["bytes a document"], "embed ms": 1000 / measured["documents/s"]}
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
        {"one": one, "other": other, "share": float(overlap.loc[one, other])}
        for one in overlap.index
        for other in overlap.columns
    ]
    side = CELL * len(overlap)
    base = alt.Chart({"values": rows}).encode(
        x=alt.X("other:N", title=None, sort=None, axis=alt.Axis(labelAngle=-30, labelLimit=220)),
        y=alt.Y("one:N", title=None, sort=None, axis=alt.Axis(labelLimit=220)),
    )
    scale = alt.Scale(domain=[0, 1], range=["rgba(76,120,168,0.08)", "rgba(76,120,168,0.9)"])
    cells = base.mark_rect().encode(color=alt.Color("share:Q", scale=scale, legend=None))
    numbers = base.mark_text(fontSize=12, color=INK, fontWeight="bold").encode(text=alt.Text("share:Q", format=".2f"))
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
    for part in ("axis", "legend"):
        chart = getattr(chart, f"configure_{part}")(labelColor=INK, titleColor=INK)
    return (
        chart.configure_title(color=INK, subtitleColor=INK)
        .configure_axis(labelColor=INK, titleColor=INK, gridColor=FAINT, domainColor=INK, tickColor=INK)
        .configure_view(stroke=FAINT)
    )


def _panel(alt: Any, labels: Sequence[str], quality: Sequence[float], costs: Sequence[float], title: str) -> Any:
    room = max((max(costs) / min(costs)) ** 0.15, 1.6)
    left, right = min(costs) / room, max(costs) * room
    pad = max((max(quality) - min(quality)) * 0.15, 0.01)
    low, high = min(quality) - pad, max(quality) + pad
    points = [
        (math.log(cost / left) / math.log(right / left) * WIDTH, (high - value) / (high - low) * HEIGHT)
        for cost, value in zip(costs, quality, strict=True)
    ]
    offsets = place_labels(points, list(labels), WIDTH, HEIGHT)
    rows = [
        {"label": label, "x": cost, "y": value, "right": offset[0], "down": offset[1]}
        for label, cost, value, offset in zip(labels, costs, quality, offsets, strict=True)
        if offset is not None
    ]
    base = (
        alt.Chart({"values": rows})
        .properties(width=WIDTH, height=HEIGHT)
        .encode(
            x=alt.X("x:Q", title=title, scale=alt.Scale(type="log", domain=[left, right]), axis=alt.Axis(format="~s")),
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
    return alt.layer(leaders, dots, texts.encode(text=alt.Text("label:N")))
