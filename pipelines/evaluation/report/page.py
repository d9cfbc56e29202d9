"""Results as one HTML page: the chart, the table and what is to be known, with all scripts inside."""

from __future__ import annotations

import html
import json
from typing import Any

from pipelines.evaluation.report.results import Results
from pipelines.evaluation.report.table import columns, explanations
from pipelines.html_document import document

# The chart has colors of its own, for light paper.
_STYLE = """
body { max-width: 1240px }
p { white-space: pre-wrap }
#chart { background: #fff; color: #222; color-scheme: light; border-radius: 6px; overflow-x: auto }
div.table { overflow-x: auto }
th, td { padding: 3px 9px; text-align: right }
td:nth-child(-n+2), th:nth-child(-n+2) { text-align: left }
td.best { font-weight: bold; color: var(--good) }
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
    title = f"Retrieval on {dataset['name']}, {dataset['split']}"
    notes = "".join(f"<p>{html.escape(line)}</p>" for line in [*explanations(results), *results.notices])
    body = (
        f'<h1>{html.escape(title)}</h1>\n<div id="chart"></div>\n<div class="table">{_table(results)}</div>\n{notes}\n'
        f'<script type="application/json" id="spec">{safe}</script>\n<script type="module">{script}</script>'
    )
    return document(title, body, style=_STYLE)


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
