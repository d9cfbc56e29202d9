"""A run's report as one HTML page: what ran, what became of its rows, where time went, what went wrong."""

from __future__ import annotations

import html
from dataclasses import asdict
from typing import Any

from pipelines.html_document import document
from pipelines.run.report.page.charts import STYLE as CHART_STYLE
from pipelines.run.report.page.course import throughput_section, time_section
from pipelines.run.report.page.facts import (
    config_section,
    counts_section,
    head_section,
    machine_section,
    models_section,
    notices_section,
    passes_section,
    sinks_section,
    title_of,
)
from pipelines.run.report.page.fields import Report, table_of
from pipelines.run.report.page.texts import dead_section, lengths_section, padding_section
from pipelines.run.report.report import RunReport

STYLE = (
    CHART_STYLE
    + """
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; margin: 14px 0 }
.tiles div { background: var(--card); border-radius: 6px; padding: 10px 14px; min-width: 0 }
.tiles b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
.tiles span { display: block } .tiles small { color: var(--soft) }
.scroll { overflow-x: auto; max-width: 100% }
.scroll td { overflow-wrap: break-word; max-width: 30em } .number { text-align: right; white-space: nowrap }
dl { display: grid; grid-template-columns: minmax(90px, max-content) 1fr; gap: 4px 16px; margin: 10px 0 }
dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums }
ul { margin: 6px 0; padding-left: 20px } li { overflow-wrap: anywhere; margin: 3px 0 }
summary { cursor: pointer; color: var(--note) }
pre { background: var(--card); border-radius: 6px; padding: 12px 14px; overflow-x: auto; font-size: 12.5px }
"""
)


def page_of(report: RunReport | Report) -> str:
    """Build the page of a run, of its report or of what is in its report's file.

    Sections for which the report, of an earlier version, has no figures are left out, and the page says so.
    """
    facts: Report = asdict(report) if isinstance(report, RunReport) else report
    sections = [
        head_section(facts),
        notices_section(facts),
        counts_section(facts),
        dead_section(facts),
        throughput_section(facts),
        time_section(facts),
        lengths_section(facts),
        padding_section(facts),
        models_section(facts),
        sinks_section(facts),
        passes_section(facts),
        machine_section(facts),
        config_section(facts),
        _left_out(facts),
    ]
    return document(title_of(facts), "\n".join(filter(None, sections)), style=STYLE)


def _left_out(report: Report) -> str:
    """Say which sections are not there, and why: the report's version, or a run that was too short."""
    parts = []
    unknown = [told for key, told in NEWER.items() if key not in report]
    if unknown:
        parts.append(
            f"This report was written by an earlier version, which did not keep {_listed(unknown)}: those are left out."
        )
    elif not throughput_section(report):
        parts.append("The run was too short for a chart of its throughput.")
    return "".join(f'<p class="faint">{html.escape(part)}</p>' for part in parts)


NEWER: dict[str, str] = {
    "timeline": "throughput over time",
    "token_lengths": "lengths of texts",
    "dead_reasons": "the reasons of dead letters",
    "machine": "the machine",
    "config": "the configuration",
}


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]


def priced(report: Report, price_per_hour: float | None) -> dict[str, Any]:
    """Put a price into a report, unless it is None."""
    return {**table_of(report), **({} if price_per_hour is None else {"price_per_hour": price_per_hour})}
