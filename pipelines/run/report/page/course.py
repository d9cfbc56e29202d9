"""What a page shows of a run's course: where its time went, and what the stages did meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipelines.run.report.page.charts import Axis, Bar, Color, Line, bar_list, line_chart
from pipelines.run.report.page.fields import (
    Report,
    details,
    embeddings_of,
    html_table,
    list_of,
    table_of,
    tables_of,
)
from pipelines.run.report.page.numbers import amount, count, is_number, mark, number, seconds, ticks, time_unit
from pipelines.run.report.page.rates import rates, samples_of, time_edges
from pipelines.run.tally import DEAD_LETTERS, figures_of

# Parts of a start-up, as people would say them.
PARTS = {
    "imports": "imports",
    "checks": "checks of the job",
    "engine": "start of the engine",
    "preparation": "preparing nodes",
    "scan": "scan of the source",
    "lengths": "measuring lengths",
    "sinks": "opening sinks",
    "tried_here": "tried in one process",
    "workers": "first block read",
    "models": "loading models",
}
ROWS_OF_TABLE = 12


def time_section(report: Report) -> str:
    """Where time went: the run's parts one after the other, and the seconds that its stages worked."""
    parts = _gantt(report)
    stages = _stages(report)
    return "".join(filter(None, [parts and f"<h2>Where the time went</h2>{parts}", stages]))


def _gantt(report: Report) -> str:
    whole = number(report.get("seconds"))
    if not whole:
        return ""
    bars, at = [], 0.0
    for name, took in table_of(report.get("startup")).items():
        if is_number(took):
            bars.append(Bar(PARTS.get(name, name), took, seconds(took), "read", at))
            at += took
    at = max(at, min(number(report.get("startup_seconds")), whole))
    sampled = [value for value in list_of(table_of(report.get("timeline")).get("seconds")) if is_number(value)]
    worked = min(sampled[-1], whole) if sampled else whole
    if worked > at:
        name = "embedding and writing" if sampled else "embedding, writing, closing"
        if not number(table_of(report.get("rows")).get("read")):
            # It ended before, as where a check failed.
            name = "until it ended"
        bars.append(Bar(name, worked - at, seconds(worked - at), "work", at))
        at = worked
    if sampled and whole - at >= 0.05:
        bars.append(Bar("closing and the rest", whole - at, seconds(whole - at), "sink", at))
    return f"<p>Of {seconds(whole)}, one after the other:</p>{bar_list(bars, 'parts of the run', whole=whole)}"


def _stages(report: Report) -> str:
    bars, rows, embeddings = [], [], {figures_of(name) for name in embeddings_of(report)}
    for name, figures in tables_of(report.get("stages")).items():
        worked, done = number(figures.get("seconds")), number(figures.get("rows"))
        if worked or done:
            bars.append(Bar(name, worked, seconds(worked), color_of(name, embeddings)))
            rows.append(
                [
                    name,
                    count(done),
                    count(figures.get("tokens")) if figures.get("tokens") else "",
                    seconds(worked),
                    seconds(figures["tokenize_seconds"]) if number(figures.get("tokenize_seconds")) else "",
                    seconds(figures["model_seconds"]) if number(figures.get("model_seconds")) else "",
                    amount(done / worked) if worked else "",
                    count(figures["retries"]) if "retries" in figures else "",
                ]
            )
    if not rows:
        return ""
    head = ["stage", "rows", "tokens", "worked", "tokenizing", "model", "rows a second of work", "retries"]
    return (
        "<h3>Work of the stages</h3><p>Seconds are summed over workers, which work at the same time.</p>"
        + bar_list(bars, "seconds that each stage worked")
        + html_table(head, rows, numbers=range(1, len(head)))
    )


def color_of(stage: str, embeddings: set[str]) -> Color:
    """The color of a stage's kind."""
    if stage in embeddings:
        return "work"
    if stage == DEAD_LETTERS:
        return "bad"
    return "sink" if stage.startswith("write ") else "read"


def throughput_section(report: Report) -> str:
    """What each stage did in a second, over the time of the run; empty where nobody took samples."""
    at, stages = samples_of(report)
    if not len(at) or not stages:
        return ""
    edges, began = time_edges(at), number(report.get("startup_seconds"))
    made = {name: rates(at, sums, edges, began) for name, sums in stages.items()}
    embeddings = {figures_of(name) for name in embeddings_of(report)}
    bottom = time_axis(float(edges[-1]))
    _, tokens = samples_of(report, "tokens")
    charts = []
    for name, values in made.items():
        told = _average(name, at, stages, tokens, began)
        line = Line(color_of(name, embeddings), (edges[:-1] + edges[1:]) / 2, values)
        about = f"rows a second of {name} over the run: {told}"
        charts.append(
            line_chart(name, about, [line], bottom, width=float(edges[-1]), unit=f"rows a second; {told}", shaded=began)
        )
    shaded = " The shaded part is the start-up." if began else ""
    table = html_table([bottom.unit, *made], _rows(edges, made, bottom.unit), numbers=range(len(made) + 1))
    return (
        f"<h2>Throughput over time</h2><p>Rows that each stage did in a second.{shaded}</p>"
        f'<div class="charts">{"".join(charts)}</div>{details("Rows a second as a table", table)}'
    )


def time_axis(longest: float) -> Axis:
    """Make the axis of a run's time."""
    unit, length = time_unit(longest)
    places = [place for place in ticks(longest / length, 6) if place * length <= 1.001 * longest]
    return Axis([(place * length / longest, mark(place)) for place in places], f"{unit} since the run began")


def _average(
    name: str, at: np.ndarray, rows: dict[str, np.ndarray], tokens: dict[str, np.ndarray], began: float
) -> str:
    told = np.flatnonzero(np.diff(rows[name]) > 0) + 1
    took = at[told[-1]] - min(at[told[0] - 1], began or at[told[0] - 1])
    if took <= 0:
        return f"{count(rows[name][-1])} in all"
    shown = f"{amount(rows[name][-1] / took)} on average"
    return f"{shown}, {amount(tokens[name][-1] / took)} tokens" if name in tokens else shown


def _rows(edges: np.ndarray, made: dict[str, np.ndarray], unit: str) -> Iterator[list[str]]:
    length = time_unit(float(edges[-1]))[1]
    steps = np.array_split(np.arange(len(edges) - 1), min(ROWS_OF_TABLE, len(edges) - 1))
    for step in steps:
        start, end = edges[step[0]] / length, edges[step[-1] + 1] / length
        yield [f"{start:.1f} to {end:.1f}", *(amount(values[step].mean()) for values in made.values())]
