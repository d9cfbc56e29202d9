"""Results as a chart: quality against size and against latency, as a PNG and as an HTML page that needs no network."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.evaluation.report.labels import place_labels
from pipelines.evaluation.report.results import Measurement, Results
from pipelines.evaluation.report.table import columns, explanations

WIDTH, HEIGHT = 520, 420
QUALITY = "nDCG@10"
KINDS = ("one vector", "fused", "staged")
COLORS = ("#1f77b4", "#d95f02", "#2ca02c")
SCALE = 2


def write_charts(results: Results, folder: Path) -> list[Path]:
    """Write ``chart.png`` and ``chart.html``; returns their paths."""
    chart = build_chart(results)
    png, page = folder / "chart.png", folder / "chart.html"
    chart.save(str(png), format="png", scale_factor=SCALE)
    page.write_text(build_page(results, chart.to_dict()), encoding="utf-8")
    return [png, page]


def build_chart(results: Results) -> Any:
    """Two panels of altair, side by side."""
    import altair as alt

    facts = results.dataset
    found = results.measurements
    sizes = [max(one.bytes_per_document, 1.0) for one in found]
    times = [max(one.query_ms, 1e-3) for one in found]
    panels = [
        _panel(found, sizes, "bytes a document (log scale)", "~s"),
        _panel(found, times, "milliseconds a query: encoding and search (log scale)", "~g"),
    ]
    title = f"{facts['name']} ({facts['split']}): {facts['documents']:,} documents, {facts['queries']:,} queries"
    under = f"Above and to the left is better. Searched in {results.engine}." if results.engine else ""
    chart = alt.hconcat(*panels, spacing=40).properties(
        title=alt.Title(title, subtitle=under, anchor="start", offset=14)
    )
    return chart.configure_view(stroke="#cccccc").configure_legend(orient="bottom", titleFontSize=12, labelFontSize=12)


def build_page(results: Results, spec: dict[str, Any]) -> str:
    """The chart with its table, as one page with all its scripts inside."""
    import vl_convert

    # Beside the script, as the bundler would undo the escape: a name with "</script>" in it would end the element.
    safe = json.dumps(spec).replace("<", "\\u003c")
    script = vl_convert.javascript_bundle(
        "vegaEmbed('#chart', JSON.parse(document.getElementById('spec').textContent), "
        "{renderer: 'svg', actions: {export: true, source: false, compiled: false, editor: false}})"
    )
    facts = results.dataset
    title = html.escape(f"Retrieval on {facts['name']}, {facts['split']}")
    notes = "".join(f"<p>{html.escape(line)}</p>" for line in [*explanations(results), *results.notices])
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n"
        f'<div id="chart"></div>\n{_table(results)}\n{notes}\n'
        f'<script type="application/json" id="spec">{safe}</script>\n'
        f'<script type="module">{script}</script>\n</body></html>\n'
    )


_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 1240px; padding: 0 1em; color: #222 }
h1 { font-size: 20px }
p { color: #555; margin: 6px 0 }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums }
th, td { padding: 3px 9px; text-align: right; border-bottom: 1px solid #ddd }
th { border-bottom: 2px solid #999 }
td:nth-child(-n+2), th:nth-child(-n+2) { text-align: left }
td.best { font-weight: bold; color: #08660b }
"""


def _table(results: Results) -> str:
    found = results.measurements
    shown = columns(results)
    cells = [column.cells(found) for column in shown]
    best = [column.best(found) for column in shown]
    head = "".join(
        f"<th>{html.escape(name)}</th>"
        for name in ("way", "index", *(column.heading.replace(" /", "/") for column in shown))
    )
    rows = []
    for row, one in enumerate(found):
        figures = "".join(
            f"<td{' class=best' if column[row] and column[row] == top else ''}>{html.escape(column[row])}</td>"
            for column, top in zip(cells, best, strict=True)
        )
        rows.append(f"<tr><td>{html.escape(one.way)}</td><td>{html.escape(one.index)}</td>{figures}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(rows) + "\n</tbody></table>"


def _panel(found: Sequence[Measurement], values: Sequence[float], title: str, axis_format: str) -> Any:
    """One panel; a line joins a way's two points, of which the exact one has the label."""
    import altair as alt

    rows, domain_x, domain_y = _rows(found, values)
    scale_x, scale_y = alt.Scale(type="log", domain=domain_x), alt.Scale(domain=domain_y)
    x = alt.X("x:Q", title=title, scale=scale_x, axis=alt.Axis(format=axis_format, gridColor="#eeeeee"))
    y = alt.Y("y:Q", title=QUALITY, scale=scale_y, axis=alt.Axis(format=".3f", gridColor="#eeeeee"))
    colors = alt.Scale(domain=list(KINDS), range=list(COLORS))
    color = alt.Color("kind:N", title="way", scale=colors, legend=alt.Legend(symbolOpacity=1, symbolType="circle"))
    base = alt.Chart({"values": rows}).properties(width=WIDTH, height=HEIGHT)
    pairs = base.mark_line(strokeWidth=1, opacity=0.5).encode(x=x, y=y, color=color, detail="way:N")
    points = base.mark_point(size=90, filled=True, opacity=0.85).encode(
        x=x,
        y=y,
        color=color,
        shape=alt.Shape(
            "index:N", title="index", scale=alt.Scale(domain=["exact", "HNSW"], range=["circle", "triangle"])
        ),
        tooltip=[
            alt.Tooltip("way:N"),
            alt.Tooltip("index:N"),
            alt.Tooltip("y:Q", title=QUALITY, format=".4f"),
            alt.Tooltip("x:Q", title=title.split(" (")[0], format=",.4~g"),
        ],
    )
    # Labels are placed in pixels; the points' scales are not theirs.
    layers = alt.layer(*_leaders(rows), alt.layer(pairs, points), *_texts(base))
    return layers.resolve_scale(x="independent", y="independent")


def _rows(
    found: Sequence[Measurement], values: Sequence[float]
) -> tuple[list[dict[str, Any]], list[float], list[float]]:
    """The points with their labels' places, and the axes' domains."""
    left, right = _log_bounds(values)
    low, high = _bounds([one.metrics[QUALITY] for one in found])
    places = []
    for one, value in zip(found, values, strict=True):
        across = (math.log10(value) - math.log10(left)) / (math.log10(right) - math.log10(left)) * WIDTH
        places.append((across, (high - one.metrics[QUALITY]) / (high - low) * HEIGHT))
    exact = {one.way for one in found if one.index == "exact"}
    texts = [one.way if one.index == "exact" or one.way not in exact else None for one in found]
    rows = []
    labels = place_labels(places, texts, WIDTH, HEIGHT)
    for one, value, place, text, label in zip(found, values, places, texts, labels, strict=True):
        row = {"x": value, "y": one.metrics[QUALITY], "way": one.way, "index": one.index, "kind": _kind(one)}
        if label is not None:
            row |= {"text": text, "text_x": label.x, "text_y": label.y, "align": label.align}
            row |= {"led": label.led, "across": place[0], "down": place[1]}
        rows.append(row)
    return rows, [left, right], [low, high]


def _texts(base: Any) -> list[Any]:
    import altair as alt

    layers = []
    for align in ("left", "center", "right"):
        mine = base.transform_filter(f"datum.align === '{align}'")
        drawn = mine.mark_text(align=align, baseline="middle", fontSize=11, color="#333333")
        x, y = alt.X("text_x:Q", scale=None), alt.Y("text_y:Q", scale=None)
        layers.append(drawn.encode(x=x, y=y, text="text:N"))
    return layers


def _leaders(rows: Sequence[dict[str, Any]]) -> list[Any]:
    """Lines from points to those labels that are not right beside them."""
    import altair as alt

    led = [row for row in rows if row.get("led")]
    if not led:
        return []
    ends = [{"x": row["across"], "y": row["down"], "x2": row["text_x"], "y2": row["text_y"]} for row in led]
    lines = alt.Chart({"values": ends}).mark_rule(color="#aaaaaa", strokeWidth=0.8)
    x, y = alt.X("x:Q", scale=None), alt.Y("y:Q", scale=None)
    return [lines.encode(x=x, y=y, x2=alt.X2("x2:Q"), y2=alt.Y2("y2:Q"))]


def _kind(found: Measurement) -> str:
    if found.search.get("rescore") is not None or found.search.get("rerank") is not None:
        return KINDS[2]
    return KINDS[1] if len(found.search.get("using", [])) > 1 else KINDS[0]


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """An axis of scores around the values, never empty."""
    low, high = min(values), max(values)
    room = max((high - low) * 0.12, 0.01)
    return low - room, high + room


def _log_bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = max((high / low) ** 0.12, 1.5)
    return low / room, high * room
