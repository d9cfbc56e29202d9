"""Compares results with earlier ones of the same queries: what got worse, what got better, what is missing."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.errors import ConfigError
from pipelines.evaluation.report.results import Results

# What must be the same for two results to be compared, and what to call it.
SAME = {
    "split": "the split",
    "corpus_sha256": "the corpus",
    "queries_sha256": "the queries or their judgements",
}
# Changes that are shown, though they fail nothing.
VISIBLE = 0.0005


@dataclass(frozen=True)
class Change:
    """One metric of one way, then and now."""

    label: str
    metric: str
    before: float
    now: float

    @property
    def difference(self) -> float:
        """Now less then; rounded, as 0.71 - 0.7 is not 0.01."""
        return round(self.now - self.before, 9)


@dataclass(frozen=True)
class Comparison:
    """Results beside a baseline: the metrics that both have, and what of the baseline is missing now.

    ``missing`` are ways, ``lost`` are metrics of ways that both have, as "metric of way".
    """

    changes: list[Change]
    missing: list[str]
    lost: list[str]
    margin: float

    @property
    def worse(self) -> list[Change]:
        """Metrics that fell by more than the margin."""
        return [change for change in self.changes if change.difference < -self.margin]

    @property
    def passed(self) -> bool:
        """Whether nothing fell by more than the margin, and nothing is missing."""
        return not (self.worse or self.missing or self.lost)


def refuse_unlike(dataset: dict[str, object], baseline: Results, name: str) -> None:
    """Raise ConfigError where a baseline is of other queries or documents."""
    unlike = [what for key, what in SAME.items() if dataset.get(key) != baseline.dataset.get(key)]
    if unlike:
        theirs = f"{baseline.dataset.get('name')}, {baseline.dataset.get('queries')} queries"
        ours = f"{dataset.get('name')}, {dataset.get('queries')} queries"
        raise ConfigError(
            f"--baseline {name} cannot be compared: it differs in {', '.join(unlike)} (there {theirs}; here {ours}); "
            "evaluate both on the same folder, with the same --split and --queries"
        )


def compare(baseline: Results, results: Results, margin: float) -> Comparison:
    """Compare way by way and metric by metric."""
    now = {one.label: one.metrics for one in results.measurements}
    changes, missing, lost = [], [], []
    for before in baseline.measurements:
        if before.label not in now:
            missing.append(before.label)
            continue
        metrics = now[before.label]
        lost += [f"{metric} of {before.label}" for metric in before.metrics if metric not in metrics]
        changes += [
            Change(before.label, metric, value, metrics[metric])
            for metric, value in before.metrics.items()
            if metric in metrics
        ]
    return Comparison(changes, missing, lost, margin)


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Print what changed, the worst first, and the verdict."""
    shown = [change for change in comparison.changes if abs(change.difference) >= VISIBLE or change in comparison.worse]
    if shown:
        table = Table("way", "metric", "baseline", "now", "change", box=box.SIMPLE)
        for column in table.columns[2:]:
            column.justify = "right"
        for change in sorted(shown, key=lambda change: change.difference):
            style = "red" if change in comparison.worse else "green" if change.difference > 0 else "yellow"
            figures = (f"{change.before:.4f}", f"{change.now:.4f}", Text(f"{change.difference:+.4f}", style=style))
            table.add_row(Text(change.label), change.metric, *figures)
        console.print(table)
    for what in (*comparison.missing, *comparison.lost):
        console.print(Text(f"missing: {what} is in the baseline and was not measured now", style="red"))
    console.print(_verdict(comparison, bool(shown)))


def _verdict(comparison: Comparison, changed: bool) -> Text:
    margin = f"{comparison.margin:g}"
    if comparison.passed:
        kept = f"no metric fell by more than {margin}" if changed else "no metric changed"
        return Text(f"as good as the baseline: {kept}", style="green")
    parts = []
    if comparison.worse:
        worse = len(comparison.worse)
        parts.append(f"{worse} metric{' is' if worse == 1 else 's are'} more than {margin} lower")
    if comparison.missing:
        missing = len(comparison.missing)
        parts.append(f"{missing} way{' is' if missing == 1 else 's are'} missing")
    if comparison.lost:
        lost = len(comparison.lost)
        parts.append(f"{lost} metric{' is' if lost == 1 else 's are'} missing")
    return Text(f"worse than the baseline: {', '.join(parts)}", style="red")
