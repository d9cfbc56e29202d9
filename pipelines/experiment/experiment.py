"""What a comparison of settings came to: its table, its chart, and what it came to query by query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.errors import ConfigError
from pipelines.evaluation.metrics import measure_queries
from pipelines.experiment.outcome import MeasuredWay, Outcome
from pipelines.experiment.sample import Sample

if TYPE_CHECKING:
    import pandas as pd

QUALITY = "nDCG@10"
METRICS = (QUALITY, "recall@10", "recall@100", "MRR@10")
# Results of a query that are compared with another setting's.
TOP = 10
DRAWS, SEED = 2000, 0
# Columns that are there where they say something.
SOME = frozenset(("dead", "error", "agreement"))
COST = ("bytes/doc", "MB", "embed s", "docs/s", "encode ms", "search ms", "tokens", "cut texts", "dead")


@dataclass(frozen=True)
class Line:
    """One line of the table: a setting in one of its ways, or a setting that failed."""

    label: str
    setting: str
    outcome: Outcome
    way: MeasuredWay | None = None


class Experiment:
    """Settings compared over one sample; a notebook shows it as a table.

    ``frame`` is the table (pandas), ``chart`` a chart (altair), ``queries("a", "b")`` shows where one is better than
    the other, ``overlap`` how much of their first ten results any two have in common. Lines go by their ``labels``: the
    setting's name, with the way to search where a setting has several.
    """

    def __init__(self, outcomes: Mapping[str, Outcome], sample: Sample) -> None:
        self._sample = sample
        self._lines = _lines(outcomes)

    @property
    def labels(self) -> list[str]:
        """The names of the lines that were measured."""
        return [line.label for line in self._lines if line.way is not None]

    @property
    def errors(self) -> dict[str, str]:
        """Why settings could not be measured, by their names."""
        return {line.setting: line.outcome.error for line in self._lines if line.outcome.error is not None}

    @property
    def notices(self) -> list[str]:
        """What is to be known of the sample and of settings."""
        told = dict.fromkeys(f"{line.setting}: {notice}" for line in self._lines for notice in line.outcome.notices)
        return [*self._sample.notices, *told]

    @property
    def judged(self) -> bool:
        """Whether there is a quality: relevant documents are known."""
        return self._sample.judgements is not None

    @property
    def title(self) -> str:
        """What was compared on, in a line."""
        queries = len(self._sample.queries)
        asked = f", {queries:,} {'query' if queries == 1 else 'queries'}" if queries else ""
        documents = len(self._sample.documents)
        return f"{documents:,} {'document' if documents == 1 else 'documents'}{asked}"

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The table: a row a line, figures that cannot be had missing; ``error`` says why a setting failed."""
        import pandas as pd

        rows = [self._row(line) for line in self._lines]
        frame: pd.DataFrame = pd.DataFrame(rows, index=pd.Index([line.label for line in self._lines], name="label"))
        kept: pd.DataFrame = frame[[name for name in frame if name not in SOME or not _blank(frame, str(name))]]
        return kept

    @property
    def chart(self) -> Any:
        """Quality against size and against time, or without judgements, the overlap of results: altair's chart.

        Raises ConfigError where altair is not installed.
        """
        from pipelines.experiment.chart import agreement_chart, quality_chart

        return quality_chart(self.frame, self.title) if self.judged else agreement_chart(self.overlap, self.title)

    @cached_property
    def overlap(self) -> pd.DataFrame:
        """The share of the first ten results that two lines have in common, mean over the queries; a square frame."""
        import pandas as pd

        ways = {line.label: line.way.run for line in self._lines if line.way is not None}
        shares = [[self._agreement(one, other) for other in ways.values()] for one in ways.values()]
        frame: pd.DataFrame = pd.DataFrame(shares, index=list(ways), columns=list(ways))
        return frame

    def queries(self, first: str, second: str) -> pd.DataFrame:
        """Show two lines query by query, those that differ most first.

        With judgements: each one's nDCG@10 and the difference, second less first; without, the share of the first ten
        results that both have. Beside it the first result of each. Raises ConfigError for a label that there is not.
        """
        import pandas as pd

        runs = [self._way(label).run for label in (first, second)]
        names = list(self._sample.queries)
        table: dict[str, Any] = {"query": [self._sample.queries[name] for name in names]}
        if self.judged:
            values = [self._values[label][QUALITY] for label in (first, second)]
            table |= {
                label: [found[name] for name in names] for label, found in zip((first, second), values, strict=True)
            }
            table["difference"] = [values[1][name] - values[0][name] for name in names]
        else:
            table["in common"] = [_share(runs[0][name], runs[1][name]) for name in names]
        for label, run in zip((first, second), runs, strict=True):
            table[f"first of {label}"] = [next(iter(run[name]), "") for name in names]
        order = -np.abs(table["difference"]) if self.judged else np.array(table["in common"])
        frame: pd.DataFrame = pd.DataFrame(table, index=pd.Index(names, name="id"))
        sorted_frame: pd.DataFrame = frame.iloc[np.argsort(order, kind="stable")]
        return sorted_frame

    def difference(self, first: str, second: str) -> tuple[float, float, float]:
        """The mean of nDCG@10 of the second less that of the first, and its 95% interval over the queries.

        The interval is a paired bootstrap's (Efron and Tibshirani, 1993): an interval with 0 in it says that these
        queries do not tell the two apart. Raises ConfigError for a label that there is not, and without judgements.
        """
        if not self.judged:
            raise ConfigError("there is no quality to compare: give qrels")
        for label in (first, second):
            self._way(label)
        one, other = (np.array(list(self._values[label][QUALITY].values())) for label in (first, second))
        return _interval(other - one)

    @cached_property
    def undecided(self) -> list[str]:
        """Labels of lines whose nDCG@10 these queries do not tell apart from the best line's."""
        if not self.judged or len(self.labels) < 2:
            return []
        best = max(self.labels, key=lambda label: _mean(self._values[label][QUALITY]))
        intervals = {label: self.difference(best, label) for label in self.labels if label != best}
        return [label for label, (_, low, high) in intervals.items() if low <= 0 <= high]

    def __repr__(self) -> str:
        from pipelines.notebook.experiment import experiment_view
        from pipelines.notebook.text import to_text

        return to_text(experiment_view(self))

    def _repr_html_(self) -> str:
        from pipelines.notebook.experiment import experiment_view
        from pipelines.notebook.html import to_html

        return to_html(experiment_view(self))

    @cached_property
    def _values(self) -> dict[str, dict[str, dict[str, float]]]:
        """Label -> metric -> query -> value."""
        judgements = self._sample.judgements
        assert judgements is not None
        return {line.label: measure_queries(judgements, line.way.run) for line in self._lines if line.way is not None}

    def _row(self, line: Line) -> dict[str, Any]:
        outcome, way = line.outcome, line.way
        documents = len(self._sample.documents)
        row: dict[str, Any] = {"setting": line.setting, "way": None if way is None else way.way}
        if self.judged:
            # Of a sample of no more than 100 documents, all are among the first 100.
            metrics = [name for name in METRICS if name != "recall@100" or documents > 100]
            row |= {name: None if way is None else _mean(self._values[line.label][name]) for name in metrics}
        elif self._sample.queries:
            row["agreement"] = None if way is None else self.overlap.loc[self.labels[0], line.label]
        if way is None and outcome.error is not None:
            return {**row, **dict.fromkeys(COST), "error": outcome.error}
        embedded = outcome.embedded
        seconds = embedded.seconds
        asked = way is not None and bool(self._sample.queries)
        size = None if way is None else way.bytes_per_document
        figures = (
            size,
            None if size is None else size * documents / 1e6,
            seconds,
            documents / seconds if seconds else None,
            way.encode_ms if way is not None and asked else None,
            way.search_ms if way is not None and asked else None,
            embedded.tokens or None,
            embedded.truncated,
            embedded.dead,
        )
        return {**row, **dict(zip(COST, figures, strict=True)), "error": None}

    def _way(self, label: str) -> MeasuredWay:
        for line in self._lines:
            if line.label == label and line.way is not None:
                return line.way
        raise ConfigError(f"there is no {label!r} that was measured; there are {', '.join(self.labels) or 'none'}")

    def _agreement(self, one: Mapping[str, Sequence[str]], other: Mapping[str, Sequence[str]]) -> float:
        shares = [_share(one.get(query, []), other.get(query, [])) for query in self._sample.queries]
        return float(np.mean(shares)) if shares else float("nan")


def _lines(outcomes: Mapping[str, Outcome]) -> list[Line]:
    lines = []
    for setting, outcome in outcomes.items():
        several = len(outcome.ways) > 1
        lines += [Line(f"{setting}: {way.way}" if several else setting, setting, outcome, way) for way in outcome.ways]
        if not outcome.ways:
            lines.append(Line(setting, setting, outcome))
    return lines


def _share(one: Sequence[str], other: Sequence[str]) -> float:
    first, second = set(islice(one, TOP)), set(islice(other, TOP))
    most = max(len(first), len(second))
    return len(first & second) / most if most else 1.0


def _interval(differences: np.ndarray[Any, Any]) -> tuple[float, float, float]:
    random = np.random.default_rng(SEED)
    draws = random.integers(0, len(differences), (DRAWS, len(differences)))
    low, high = np.percentile(differences[draws].mean(axis=1), [2.5, 97.5])
    return float(differences.mean()), float(low), float(high)


def _mean(values: Mapping[str, float]) -> float:
    return float(np.mean(list(values.values())))


def _blank(frame: pd.DataFrame, name: str) -> bool:
    return not any(value == value and value for value in frame[name])
