"""Results as a table for the terminal, and as rows of text for the HTML page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.evaluation.metrics import DEPTH, MEASURES
from pipelines.evaluation.report.results import Measurement, Results

MOST_WIDTH = 1000
Value = Callable[[Measurement], float | None]


@dataclass(frozen=True)
class Column:
    """One figure of a way: its heading, how it is computed and shown, and whether more is better."""

    heading: str
    value: Value
    shown: Callable[[float], str]
    more_is_better: bool

    def cells(self, measurements: Sequence[Measurement]) -> list[str]:
        """Return the text for each way; empty for a way without that figure."""
        values = [self.value(one) for one in measurements]
        return ["" if value is None else self.shown(value) for value in values]

    def best(self, measurements: Sequence[Measurement]) -> str | None:
        """Return the best cell as it is shown, so that ways that look equal are marked alike; None if all are equal."""
        values = [value for value in (self.value(one) for one in measurements) if value is not None]
        if len({self.shown(value) for value in values}) < 2:
            return None
        return self.shown(max(values) if self.more_is_better else min(values))


def columns(results: Results) -> list[Column]:
    """List the columns that say something: a recall at 1,000 of 500 documents does not."""
    deep = results.dataset.get("documents", 0) > DEPTH
    metrics = [name for name in MEASURES if deep or name != "recall@1000"]
    return [
        *(Column(_short(name), _metric(name), lambda value: f"{value:.4f}", True) for name in metrics),
        Column("encode ms", lambda one: one.encode_ms, _milliseconds, False),
        Column("search ms", lambda one: one.search_ms, _milliseconds, False),
        Column("p95 ms", lambda one: one.search_p95_ms, _milliseconds, False),
        Column("queries /s", lambda one: one.queries_per_second, lambda value: f"{value:,.0f}", True),
        Column("bytes /doc", lambda one: one.bytes_per_document, _bytes, False),
        Column("embed s", lambda one: one.embed_seconds, lambda value: f"{value:,.1f}", False),
    ]


def show_results(results: Results, console: Console) -> None:
    """Print the table and what is to be known to read it."""
    dataset = results.dataset
    counts = f"{dataset['documents']:,} documents, {dataset['queries']:,} queries"
    console.print(Text(f"{dataset['name']}, {dataset['split']}: {counts}"), style="bold")
    measurements = results.measurements
    table = Table("way", "index", box=box.SIMPLE, padding=(0, 1), collapse_padding=True, pad_edge=False)
    table.columns[0].no_wrap = True
    shown = columns(results)
    for column in shown:
        table.add_column(column.heading.replace(" ", "\n"), justify="right", no_wrap=True)
    cells = [column.cells(measurements) for column in shown]
    best = [column.best(measurements) for column in shown]
    before = None
    for row, one in enumerate(measurements):
        name = "" if one.way == before else one.way
        before = one.way
        figures = [
            Text(column[row], style="bold green" if column[row] and column[row] == top else "")
            for column, top in zip(cells, best, strict=True)
        ]
        table.add_row(Text(name), one.index, *figures)
    # As wide as it is: in a log or a narrow terminal the first columns would be given up for the others.
    width = console.measure(table, options=console.options.update(max_width=MOST_WIDTH)).maximum
    console.width = max(console.width, width)
    console.print(table)
    for line in explanations(results):
        console.print(Text(line), style="dim", soft_wrap=True)
    for notice in results.notices:
        console.print(Text(notice), style="yellow", soft_wrap=True)


def explanations(results: Results) -> list[str]:
    """Say what a reader of the table is to know."""
    lines = [
        "Means over all queries by ir_measures, in the engine's own order; equal scores of a fusion, which Qdrant "
        "orders at random, go by the points' ids.",
        f"ms and queries/s: a page of 10 hits from {results.engine or 'the collection'}, one query at a time.",
        "bytes/doc: the vectors a way reads, before any index or quantization. embed s: workers' sum over the corpus.",
    ]
    names = [one.way for one in results.measurements]
    if any(">" in name and "@" in name for name in names):
        lines.append("a>b@100: 100 candidates of a, ordered anew by b; maxsim is a's own multivector.")
    return lines


def _short(name: str) -> str:
    return name.replace("recall@", "R@")


def _metric(name: str) -> Value:
    return lambda one: one.metrics.get(name)


def _milliseconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _bytes(value: float) -> str:
    for unit in ("B", "kB", "MB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} GB"
