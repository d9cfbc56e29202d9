"""The summary of a run on the terminal: its figures in tables, what was lost, and the first dead letters."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from pipelines.one_line import counted
from pipelines.run.tally import Figures

if TYPE_CHECKING:
    from pipelines.run.report.report import RunReport

# Counts that are told where there are any.
ONLY_SOME_RUNS = ("copied", "payload_only")
# Seconds of a part of the start-up that is told: what is shown as 0.1 at least.
LEAST_TOLD = 0.05


def show(report: RunReport, console: Console) -> None:
    """Print a run's summary, and the first dead letters."""
    console.print(Group(*_parts(report)))
    if report.rows["dead"]:
        title = f"{counted(report.rows['dead'], 'dead letter')} in {report.dead_letters}:"
        console.print(Text(title, style="yellow"), soft_wrap=True)
        for sample in report.dead_samples:
            console.print(Text("\n".join(_dead_lines(sample, console.width))), soft_wrap=True)


def _title(report: RunReport) -> str:
    color = {"complete": "green", "interrupted": "yellow"}.get(report.status, "red")
    title = f"[bold {color}]{report.status}[/] in {report.seconds:.1f} s, {report.startup_seconds:.1f} s of it start-up"
    if report.engine is not None:
        title += ", by Ray" if report.engine == "ray" else ", in one process"
    return title


def _parts(report: RunReport) -> list[Any]:
    counts = report.rows
    figures = Table(box=box.SIMPLE, show_header=False)
    for name in counts:
        if _is_told(name, report):
            figures.add_row(name.replace("_", " "), f"{counts[name]:,}")
        if name == "read" and report.deletions_read:
            figures.add_row("deletions read", f"{report.deletions_read:,}")
    stages = Table("stage", "rows", "tokens", "padding", "seconds", "rows/s", box=box.SIMPLE)
    for column in stages.columns[1:]:
        column.justify = "right"
    for name, values in report.stages.items():
        stages.add_row(name, *stage_cells(values))
    parts: list[Any] = [_title(report)]
    # What takes no time, as most of it does in one process, is left out.
    if took := [f"{name} {seconds:.1f} s" for name, seconds in report.startup.items() if seconds >= LEAST_TOLD]:
        parts.append(Text(f"start-up: {', '.join(took)}"))
    parts += [figures, stages]
    parts += [Text(line) for line in length_lines(report)]
    parts += [Text(f"{sink['type']}: {told_sink(sink)}") for sink in report.sinks if "points" in sink]
    parts += [
        f"{figures['truncated']:,} texts were longer than {name} takes and were cut"
        for name, figures in report.stages.items()
        if figures.get("truncated")
    ]
    parts += [Text(line) for line in unknown_lines(report)]
    parts += [Text(line, style="yellow") for line in loss_lines(report)]
    if report.deleted_points is not None:
        parts.append(Text(f"ids of deleted points: {report.deleted_points}"))
    parts += [Text(notice, style="yellow") for notice in report.notices]
    return parts


def _is_told(name: str, report: RunReport) -> bool:
    """Whether a count tells anything in this run."""
    counts = report.rows
    if name == "chunked":
        return counts["chunked"] != counts["read"]
    if name == "deleted":
        return any("deleted" in sink for sink in report.sinks)
    return bool(counts[name]) or name not in ONLY_SOME_RUNS


def told_sink(sink: dict[str, Any]) -> str:
    """Say what a sink that was written to holds now."""
    deleted = f", {sink['deleted']:,} deleted" if "deleted" in sink else ""
    return f"{sink['points']:,} points in {sink['place']}{deleted}"


def unknown_lines(report: RunReport) -> list[str]:
    """Say of which tokenizers many texts are unknown."""
    return [
        f"{figures['unknown']:,} texts are mostly unknown to the tokenizer of {name}; see whether it suits them"
        for name, figures in report.stages.items()
        if figures.get("unknown")
    ]


def loss_lines(report: RunReport) -> list[str]:
    """Say what was lost and done again, and what was left undone; empty where nothing was."""
    lines = [lost] if (lost := _losses(report)) else []
    if waiting := report.deletions_waiting:
        lines.append(
            f"{counted(waiting, 'deletion')} of the source left waiting: the documents stay until a run completes"
        )
    return lines


def _losses(report: RunReport) -> str:
    """One line that says what was lost and done again; empty where nothing was."""
    again = f"{counted(report.blocks_embedded_again, 'block')} embedded again"
    if report.rows_embedded_again:
        again += f" ({counted(report.rows_embedded_again, 'row')})"
    told = {
        f"{counted(report.nodes_lost, 'node')} lost": report.nodes_lost,
        f"{counted(report.nodes_joined, 'node')} joined": report.nodes_joined,
        f"{counted(report.actors_restarted, 'worker')} started anew": report.actors_restarted,
        again: report.blocks_embedded_again or report.rows_embedded_again,
    }
    return ", ".join(line for line, number in told.items() if number)


def _dead_lines(sample: str, width: int) -> list[str]:
    """Lay a dead letter out in lines of ``width`` cells: broken between its document, its origin and its reason.

    The reason is prose, and is broken between words. A name that is longer than a line is left whole.
    """
    if cell_len(sample) + 2 <= width:
        return [f"  {sample}"]
    named, found, reason = sample.partition("): ")
    if not found:
        return [f"  {sample}"]
    where = f"{named}):"
    document, bracket, origin = where.rpartition(" (")
    places = [where] if cell_len(where) + 2 <= width or not bracket else [document, f"({origin}"]
    words = wrap(reason, max(width - 6, 20), break_long_words=False, break_on_hyphens=False)
    return [*(f"  {place}" for place in places), *(f"      {line}" for line in words)]


def length_lines(report: RunReport) -> list[str]:
    """Say the average length that each embedding took, and where it is from."""
    return [_length_line(name, found) for name, found in report.statistics.items()]


def _length_line(name: str, found: dict[str, Any]) -> str:
    line = f"{name}: average length {found['avg_len']:,} words"
    if "held_by" in found:
        return f"{line}, which {found['held_by']} was filled with"
    return f"{line}, measured over {found['texts']:,} texts in {found['seconds']:.1f} s"


def stage_cells(values: Figures) -> list[str]:
    """Say a stage's rows, tokens, padding, seconds, and rows a second."""
    seconds, rows = values.get("seconds", 0), values.get("rows", 0)
    return [
        f"{rows:,.0f}",
        f"{values['tokens']:,.0f}" if values.get("tokens") else "",
        f"{values['padding_waste']:.1%}" if "padding_waste" in values else "",
        f"{seconds:.1f}",
        f"{rows / seconds:,.0f}" if seconds else "",
    ]
