"""Results as one HTML page: the chart, the table and what is to be known, with all scripts inside."""

from __future__ import annotations

import html
import json
from typing import Any

from pipelines.evaluation.report.results import Results
from pipelines.evaluation.report.table import columns, explanations

_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 1240px; padding: 0 1em; color: #222 }
h1 { font-size: 20px }
p { color: #555; margin: 6px 0; white-space: pre-wrap }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums }
th, td { padding: 3px 9px; text-align: right; border-bottom: 1px solid #ddd }
th { border-bottom: 2px solid #999 }
td:nth-child(-n+2), th:nth-child(-n+2) { text-align: left }
td.best { font-weight: bold; color: #08660b }
"""


def build_page(results: Results, chart: dict[str, Any]) -> str:
    """Build the page around a chart (its Vega-Lite specification); it needs no network."""
    import vl_convert

    # Beside the script, as the bundler would undo the escape: a name with "</script>" in it would end the element.
    safe = json.dumps(chart).replace("<", "\\u003c")
    script = vl_convert.javascript_bundle(
        "vegaEmbed('#chart', JSON.parse(document.getElementById('spec').textContent), "
        "{renderer: 'svg', actions: {export: true, source: false, compiled: false, editor: false}})"
    )
    dataset = results.dataset
    title = html.escape(f"Retrieval on {dataset['name']}, {dataset['split']}")
    notes = "".join(f"<p>{html.escape(line)}</p>" for line in [*explanations(results), *results.notices])
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n"
        f'<div id="chart"></div>\n{_table(results)}\n{notes}\n'
        f'<script type="application/json" id="spec">{safe}</script>\n'
        f'<script type="module">{script}</script>\n</body></html>\n'
    )


def _table(results: Results) -> str:
    measurements, shown = results.measurements, columns(results)
    cells = [column.cells(measurements) for column in shown]
    best = [column.best(measurements) for column in shown]
    head = "".join(
        f"<th>{html.escape(name)}</th>"
        for name in ("way", "index", *(column.heading.replace(" /", "/") for column in shown))
    )
    rows = []
    for row, one in enumerate(measurements):
        figures = "".join(
            f"<td{' class=best' if column[row] and column[row] == top else ''}>{html.escape(column[row])}</td>"
            for column, top in zip(cells, best, strict=True)
        )
        rows.append(f"<tr><td>{html.escape(one.way)}</td><td>{html.escape(one.index)}</td>{figures}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(rows) + "\n</tbody></table>"
