"""An experiment as a table: a line a setting, the best of each column in bold, errors and notices below."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pipelines.notebook.view import Cell, Grid, Notes, View

if TYPE_CHECKING:
    from pipelines.experiment.experiment import Experiment

Shown = Callable[[float], str]


def _score(value: float) -> str:
    return f"{value:.3f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


# How a column is shown, and which end of it is good: the higher, the lower, or neither.
COLUMNS: dict[str, tuple[Shown, int]] = {
    "nDCG@10": (_score, 1),
    "recall@10": (_score, 1),
    "recall@100": (_score, 1),
    "MRR@10": (_score, 1),
    "agreement": (_score, 0),
    "bytes/doc": (_whole, -1),
    "MB": (_short, 0),
    "embed s": (_short, -1),
    "encode ms": (_short, -1),
    "search ms": (_short, -1),
    "tokens": (_whole, 0),
    "cut texts": (_whole, -1),
    "dead": (_whole, -1),
}
# Labels that a sentence lists.
MOST_NAMES = 6
ALTAIR = "a chart of it needs altair: pip install 'fleetembed[evaluate]'"


def experiment_view(experiment: Experiment) -> View:
    """Show an experiment."""
    frame = experiment.frame
    names = [name for name in COLUMNS if name in frame and frame[name].notna().any()]
    measured = frame[frame["way"].notna()] if "error" in frame else frame
    best = {name: _best(measured[name].dropna(), *COLUMNS[name]) for name in names}
    rows: list[list[Cell | str]] = []
    for label, row in frame.iterrows():
        cells = [_cell(row[name], COLUMNS[name][0], best[name]) for name in names]
        rows.append([str(label), *cells])
    headings = [_heading(name, experiment) for name in names]
    errors = [f"{name}: {why}" for name, why in experiment.errors.items()]
    return View(
        experiment.title,
        [
            Grid(["", *headings], rows, frozenset(headings)),
            Notes(errors, urgent=True, heading="settings that could not be measured"),
            Notes(experiment.notices, urgent=True),
            Notes(_decided(experiment)),
            Notes([] if _has_altair() else [ALTAIR]),
        ],
    )


def _heading(name: str, experiment: Experiment) -> str:
    return f"first ten as {experiment.labels[0]}" if name == "agreement" else name


def _cell(value: Any, shown: Shown, best: str | None) -> Cell:
    # What is missing in a frame is None or NaN.
    if value is None or value != value:
        return Cell("")
    text = shown(float(value))
    return Cell(text, strong=text == best)


def _best(values: Any, shown: Shown, end: int) -> str | None:
    """Return the best value as it is shown; None if all are equal, or neither end is good."""
    if not end or len({shown(value) for value in values}) < 2:
        return None
    return shown(float(values.max() if end > 0 else values.min()))


def _decided(experiment: Experiment) -> list[str]:
    undecided = experiment.undecided
    if not undecided:
        return []
    more = f" and {len(undecided) - MOST_NAMES} more" if len(undecided) > MOST_NAMES else ""
    named = f"{', '.join(undecided[:MOST_NAMES])}{more}"
    return [f"these queries do not tell the best nDCG@10 apart from that of {named} (paired bootstrap, 95%)"]


def _has_altair() -> bool:
    # A module that is None in sys.modules cannot be imported either, and has no spec.
    with suppress(ValueError):
        return find_spec("altair") is not None
    return False
