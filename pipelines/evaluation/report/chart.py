"""Results as a chart of two panels: quality against size, and against the time a query takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.evaluation.report.labels import BESIDE, place_labels
from pipelines.evaluation.report.results import Measurement, Results

WIDTH, HEIGHT = 520, 420
QUALITY = "nDCG@10"
ALONE, FUSED, STAGED = ("one vector", "fused", "staged")
COLORS = {ALONE: "#1f77b4", FUSED: "#d95f02", STAGED: "#2ca02c"}
INDEXES = {"exact": "circle", "HNSW": "triangle"}


def build_chart(results: Results) -> Any:
    """Build altair's chart of results."""
    import altair as alt

    dataset, measurements = results.dataset, results.measurements
    sizes = [max(one.bytes_per_document, 1.0) for one in measurements]
    times = [max(one.query_ms, 1e-3) for one in measurements]
    panels = [
        _panel(measurements, sizes, "bytes a document (log scale)", "~s"),
        _panel(measurements, times, "milliseconds a query: encoding and search (log scale)", "~g"),
    ]
    title = (
        f"{dataset['name']} ({dataset['split']}): {dataset['documents']:,} documents, {dataset['queries']:,} queries"
    )
    under = f"Above and to the left is better. Searched in {results.engine}." if results.engine else ""
    chart = alt.hconcat(*panels, spacing=40).properties(
        title=alt.Title(title, subtitle=under, anchor="start", offset=14)
    )
    return chart.configure_view(stroke="#cccccc").configure_legend(orient="bottom", titleFontSize=12, labelFontSize=12)


def _panel(measurements: Sequence[Measurement], values: Sequence[float], title: str, axis_format: str) -> Any:
    """Build one panel; a line joins a way's two points, of which the exact one has the label."""
    import altair as alt

    rows, domain_x, domain_y = _rows(measurements, values)
    scale_x, scale_y = alt.Scale(type="log", domain=domain_x), alt.Scale(domain=domain_y)
    x = alt.X("x:Q", title=title, scale=scale_x, axis=alt.Axis(format=axis_format, gridColor="#eeeeee"))
    y = alt.Y("y:Q", title=QUALITY, scale=scale_y, axis=alt.Axis(format=".3f", gridColor="#eeeeee"))
    # The legends list what was measured alone; a kind has its color whatever others there are.
    colors, shapes = _scale(COLORS, rows, "kind"), _scale(INDEXES, rows, "index")
    color = alt.Color("kind:N", title="way", scale=colors, legend=alt.Legend(symbolOpacity=1, symbolType="circle"))
    base = alt.Chart({"values": rows}).properties(width=WIDTH, height=HEIGHT).encode(x=x, y=y)
    pairs = base.mark_line(strokeWidth=1, opacity=0.5).encode(color=color, detail="way:N")
    points = base.mark_point(size=90, filled=True, opacity=0.85).encode(
        color=color,
        shape=alt.Shape("index:N", title="index", scale=shapes),
        tooltip=[
            alt.Tooltip("way:N"),
            alt.Tooltip("index:N"),
            alt.Tooltip("y:Q", title=QUALITY, format=".4f"),
            alt.Tooltip("x:Q", title=title.split(" (")[0], format=",.4~g"),
        ],
    )
    labelled = base.transform_filter("isValid(datum.text)")
    align = alt.expr("datum.right > 0 ? 'left' : datum.right < 0 ? 'right' : 'center'")
    right, down = alt.expr("datum.right"), alt.expr("datum.down")
    texts = labelled.mark_text(align=align, dx=right, dy=down, baseline="middle", fontSize=11, color="#333333")
    # Lines from points to those labels that are not right beside them.
    leaders = labelled.transform_filter(f"abs(datum.right) > {BESIDE}").mark_rule(
        x2Offset=right, y2Offset=down, color="#aaaaaa", strokeWidth=0.8
    )
    return alt.layer(
        leaders.encode(x2=alt.X2(field="x"), y2=alt.Y2(field="y")), pairs, points, texts.encode(text=alt.Text("text:N"))
    )


def _scale(looks: Mapping[str, str], rows: Sequence[Mapping[str, Any]], field: str) -> Any:
    """Build the scale of the values that a field has in the rows, in the order of ``looks``."""
    import altair as alt

    there = [value for value in looks if any(row[field] == value for row in rows)]
    return alt.Scale(domain=there, range=[looks[value] for value in there])


def _rows(
    measurements: Sequence[Measurement], values: Sequence[float]
) -> tuple[list[dict[str, Any]], list[float], list[float]]:
    """Make the rows of the points with the offsets of their labels, and the axes' domains."""
    left, right = _log_bounds(values)
    low, high = _bounds([one.metrics[QUALITY] for one in measurements])
    points = []
    for one, value in zip(measurements, values, strict=True):
        across = math.log(value / left) / math.log(right / left) * WIDTH
        points.append((across, (high - one.metrics[QUALITY]) / (high - low) * HEIGHT))
    exact = {one.way for one in measurements if one.index == "exact"}
    texts = [one.way if one.index == "exact" or one.way not in exact else None for one in measurements]
    rows = []
    offsets = place_labels(points, texts, WIDTH, HEIGHT)
    for one, value, text, offset in zip(measurements, values, texts, offsets, strict=True):
        row = {"x": value, "y": one.metrics[QUALITY], "way": one.way, "index": one.index, "kind": _kind(one)}
        if offset is not None:
            row |= {"text": text, "right": offset[0], "down": offset[1]}
        rows.append(row)
    return rows, [left, right], [low, high]


def _kind(one: Measurement) -> str:
    if one.search.get("rescore") is not None or one.search.get("rerank") is not None:
        return STAGED
    return FUSED if len(one.search.get("using", [])) > 1 else ALONE


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """Choose an axis of scores around the values, never empty."""
    low, high = min(values), max(values)
    room = max((high - low) * 0.12, 0.01)
    return low - room, high + room


def _log_bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = max((high / low) ** 0.12, 1.5)
    return low / room, high * room
