"""Two runs' reports side by side as one HTML page: what differs in their settings, models, counts, rates and times."""

from __future__ import annotations

import html
from typing import Any

from pipelines.html_document import document
from pipelines.run.report.page.charts import Color, Line, line_chart
from pipelines.run.report.page.course import PARTS, time_axis
from pipelines.run.report.page.difference import Rows, facts_table, flat
from pipelines.run.report.page.facts import VERDICTS, machine_facts, working_seconds
from pipelines.run.report.page.fields import Report, embeddings_of, list_of, table_of, tables_of, text_of
from pipelines.run.report.page.numbers import HOUR, amount, count, is_number, number, seconds, share
from pipelines.run.report.page.page import STYLE
from pipelines.run.report.page.rates import samples_of
from pipelines.run.tally import figures_of

# Runs whose rows differ by more than this take another time for that reason alone.
ALIKE = 0.05
COLORS: tuple[Color, Color] = ("work", "other")
OWN_STYLE = """
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); gap: 12px }
.pair div { background: var(--card); border-radius: 6px; padding: 10px 14px; border-left: 4px solid; min-width: 0 }
.pair .first { border-color: var(--work) } .pair .second { border-color: var(--other) }
.pair b { overflow-wrap: anywhere }
.differing td { overflow-wrap: anywhere; min-width: 7em }
@media (max-width: 560px) {
  .differing thead { display: none }
  .differing, .differing tbody, .differing tr, .differing td { display: block }
  .differing tr { border-bottom: 1px solid var(--line); padding: 6px 0 }
  .differing td { border: 0; padding: 1px 0 } .differing td:first-child { color: var(--soft) }
  .differing td:nth-child(2)::before { content: "A: "; color: var(--work); font-weight: 600 }
  .differing td:nth-child(3)::before { content: "B: "; color: var(--other); font-weight: 600 }
}
"""


def comparison_of(one: Report, other: Report, names: tuple[str, str] = ("A", "B")) -> str:
    """Build the page that compares two reports, which are what is in their files; ``names`` are these files'."""
    runs = (one, other)
    heads = "".join(
        _head(letter, kind, name, run)
        for letter, kind, name, run in zip("AB", ("first", "second"), names, runs, strict=True)
    )
    sections = [
        f'<h1>Two runs compared</h1><div class="pair">{heads}</div>',
        _rates(runs),
        _course(runs),
        _settings(runs),
        _models(runs),
        _counts(runs),
        _times(runs),
        _stages(runs),
        _sinks(runs),
        _machines(runs),
    ]
    return document("Two runs compared", "\n".join(filter(None, sections)), style=STYLE + OWN_STYLE)


def _head(letter: str, kind: str, name: str, run: Report) -> str:
    began = str(run.get("started", "")).replace("T", " ").replace("+00:00", " UTC")
    status = str(run.get("status"))
    error = f": {run['error']}" if run.get("error") else ""
    return (
        f'<div class="{kind}"><b>{letter}: {html.escape(name)}</b><p>Run {html.escape(str(run.get("run_id")))} of '
        f"{html.escape(str(run.get('corpus')))}, begun {html.escape(began)}</p>"
        f'<span class="{VERDICTS.get(status, "note")}">{html.escape(status + error)}</span></div>'
    )


def _rates(runs: tuple[Report, Report]) -> str:
    rows = Rows()
    rows.add_seconds("whole run", [run.get("seconds") for run in runs], alike=_alike(runs))
    rows.add_seconds("start-up", [run.get("startup_seconds") for run in runs])
    for told, key in (("embedded rows a second, after the start-up", "embedded"), ("written rows a second", "written")):
        rows.add(
            told, [number(table_of(run.get("rows")).get(key)) / working_seconds(run) for run in runs], amount, "more"
        )
    rows.add(
        "tokens a second, after the start-up",
        [number(run.get("tokens")) / working_seconds(run) for run in runs],
        amount,
        "more",
    )
    rows.add("padding", [run.get("padding_waste") for run in runs], share, "less")
    prices = [run.get("price_per_hour") for run in runs]
    costs = [
        number(run.get("seconds")) * number(price) / HOUR if is_number(price) else None
        for run, price in zip(runs, prices, strict=True)
    ]
    rows.add("cost", costs, amount, "less" if _alike(runs) else "")
    return rows.table("In short")


def _alike(runs: tuple[Report, Report]) -> bool:
    """Whether both embedded about as many rows."""
    one, other = (number(table_of(run.get("rows")).get("embedded")) for run in runs)
    return abs(one - other) <= ALIKE * max(one, other)


def _course(runs: tuple[Report, Report]) -> str:
    """Draw how many rows had been embedded, or else written, over the time of each run."""
    sampled = [_done(run) for run in runs]
    if not all(len(at) for at, _ in sampled):
        return "<p>Of one of them at least there are too few samples, or none, for a chart of its course.</p>"
    width = max(float(at[-1]) for at, _ in sampled)
    lines = [Line(color, at, done, letter) for letter, color, (at, done) in zip("AB", COLORS, sampled, strict=True)]
    about = "; ".join(
        f"{letter}: {count(done[-1])} rows after {seconds(at[-1])}"
        for letter, (at, done) in zip("AB", sampled, strict=True)
    )
    chart = line_chart(
        "Rows embedded, by the model that is behind",
        about,
        lines,
        time_axis(width),
        width=width,
        unit="rows",
        filled=False,
    )
    return f"<h2>Course</h2>{chart}"


def _done(run: Report) -> tuple[Any, Any]:
    at, stages = samples_of(run)
    embedded = [stages[name] for name in map(figures_of, embeddings_of(run)) if name in stages]
    written = [sums for name, sums in stages.items() if name.startswith("write ")]
    chosen = embedded or written or list(stages.values())
    if not chosen:
        return (), ()
    # The model that is behind tells how far a run is.
    return at, min(chosen, key=lambda sums: float(sums.sum()))


def _settings(runs: tuple[Report, Report]) -> str:
    configs = [dict(flat(config)) if (config := table_of(run.get("config"))) else {} for run in runs]
    if not all(configs):
        return "<h2>Settings</h2><p>One of the reports is of an earlier version, which did not keep the settings.</p>"
    return facts_table("Settings that differ", "key", configs, "left out", "All settings are the same.")


def _models(runs: tuple[Report, Report]) -> str:
    facts = []
    for run in runs:
        found = {"the job's fingerprint": str(run.get("fingerprint") or "")[:12]}
        for name, about in tables_of(run.get("models")).items():
            found |= {
                f"{name}: {key}": text_of(about.get(key)) for key in ("model", "kind", "dim", "precision", "license")
            }
            found[f"{name}: fingerprint"] = str(about.get("fingerprint") or "")[:12]
        facts.append(found)
    same = "Models and fingerprints are the same: both runs may write to one place."
    return facts_table("Models and fingerprints that differ", "of", facts, "not there", same)


def _counts(runs: tuple[Report, Report]) -> str:
    rows, counts = Rows(), [table_of(run.get("rows")) for run in runs]
    for name in dict.fromkeys([*counts[0], *counts[1]]):
        rows.add(name.replace("_", " "), [had.get(name) for had in counts], count, always=name in ("written", "dead"))
    rows.add("documents", [run.get("documents") for run in runs], count)
    rows.add("tokens", [run.get("tokens") for run in runs], count)
    for key in ("nodes_lost", "actors_restarted", "blocks_embedded_again", "rows_embedded_again"):
        rows.add(key.replace("_", " "), [run.get(key) for run in runs], count)
    reasons = [_reasons(run) for run in runs]
    for name in dict.fromkeys([*reasons[0], *reasons[1]]):
        known = [had.get(name, 0) if "dead_reasons" in run else None for had, run in zip(reasons, runs, strict=True)]
        rows.add(f"dead: {name}", known, count)
    return rows.table("Counts", "rows")


def _reasons(run: Report) -> dict[str, float]:
    reasons = (table_of(reason) for reason in list_of(run.get("dead_reasons")))
    return {f"{reason.get('stage')}: {reason.get('type')}": number(reason.get("rows")) for reason in reasons}


def _times(runs: tuple[Report, Report]) -> str:
    rows, parts = Rows(), [table_of(run.get("startup")) for run in runs]
    for name in dict.fromkeys([*parts[0], *parts[1]]):
        rows.add_seconds(PARTS.get(name, name), [had.get(name) for had in parts])
    return rows.table("Start-up", "part")


def _stages(runs: tuple[Report, Report]) -> str:
    rows, stages = Rows(), [tables_of(run.get("stages")) for run in runs]
    for name in dict.fromkeys([*stages[0], *stages[1]]):
        figures = [had.get(name, {}) for had in stages]
        rows.add_seconds(f"{name}: worked", [had.get("seconds") for had in figures], alike=_alike(runs))
        speeds = [
            number(had.get("rows")) / number(had["seconds"]) if number(had.get("seconds")) else None for had in figures
        ]
        rows.add(f"{name}: rows a second of work", speeds, amount, "more")
        for key, told in (("padding_waste", "padding"), ("truncated", "texts cut"), ("retries", "retries")):
            shown = share if key == "padding_waste" else count
            rows.add(f"{name}: {told}", [had.get(key) for had in figures], shown, "less" if key != "truncated" else "")
    return rows.table("Stages", "stage")


def _sinks(runs: tuple[Report, Report]) -> str:
    rows, sinks = Rows(), [[table_of(sink) for sink in list_of(run.get("sinks"))] for run in runs]
    for at in range(max(map(len, sinks))):
        pair = [had[at] if at < len(had) else {} for had in sinks]
        title = " / ".join(dict.fromkeys(f"{sink['type']} {sink.get('place')}" for sink in pair if "type" in sink))
        rows.add(f"{title}: points", [sink.get("points") for sink in pair], count)
    return rows.table("Sinks", "place")


def _machines(runs: tuple[Report, Report]) -> str:
    machines = [dict(machine_facts(table_of(run["machine"]))) if table_of(run.get("machine")) else {} for run in runs]
    if not all(machines):
        return "<h2>Machines</h2><p>One of the reports does not tell of its machine.</p>"
    kept = [{key: told for key, told in machine.items() if told} for machine in machines]
    return facts_table("Machines: what differs", "of", kept, "not there", "Machines and versions are the same.")
