"""What a page tells of a run in facts: what it did in short, its models, sinks, losses, machines and configuration."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

import yaml

from pipelines.run.placement.nodes import count_of
from pipelines.run.report.page.charts import Bar, Color, bar_list
from pipelines.run.report.page.fields import (
    Report,
    details,
    facts_list,
    html_table,
    list_of,
    table_of,
    tables_of,
    text_of,
)
from pipelines.run.report.page.numbers import HOUR, amount, count, is_number, number, seconds, size

VERDICTS = {"complete": "good", "failed": "bad", "interrupted": "warn", "running": "note"}
COLORS: dict[str, Color] = {"written": "sink", "dead": "bad", "deleted": "other", "embedded": "work"}


def head_section(report: Report) -> str:
    """The title, how the run ended, and its main figures."""
    status, error = str(report.get("status")), report.get("error")
    state = VERDICTS.get(status, "note")
    verdict = f"{status}: {error}" if error else status
    dead = number(table_of(report.get("rows")).get("dead"))
    if status == "complete" and dead:
        verdict, state = f"complete, but for {count(dead)} dead letters", "warn"
    began = str(report.get("started", "")).replace("T", " ").replace("+00:00", " UTC")
    engine = {"ray": "by Ray", "local": "in one process"}.get(str(report.get("engine")), "")
    about = ", ".join(filter(None, [f"Run {report.get('run_id')}", began and f"begun {began}", engine]))
    return (
        f"<h1>{html.escape(title_of(report))}</h1>"
        f'<p class="verdict {state}">{html.escape(verdict)}</p><p>{html.escape(about)}</p>'
        f'<div class="tiles">{"".join(_tile(name, told, small) for name, told, small in _main_figures(report))}</div>'
    )


def title_of(report: Report) -> str:
    """Name a run as its page does."""
    return f"Run of {report.get('corpus')}"


def _tile(name: str, told: str, small: str) -> str:
    return f"<div><b>{html.escape(told)}</b><span>{html.escape(name)}</span><small>{html.escape(small)}</small></div>"


def working_seconds(report: Report) -> float:
    """Seconds after the start-up; at least a tenth of one."""
    return max(0.1, number(report.get("seconds")) - number(report.get("startup_seconds")))


def _main_figures(report: Report) -> Iterator[tuple[str, str, str]]:
    rows, took = table_of(report.get("rows")), number(report.get("seconds"))
    start = number(report.get("startup_seconds"))
    held = f"; {count(rows['skipped'])} were there already" if number(rows.get("skipped")) else ""
    yield "rows written", count(rows.get("written")), f"of {count(rows.get('chunked'))} rows{held}"
    yield "took", seconds(took), f"{seconds(start)} of it start-up" if start else ""
    embedded, tokens = number(rows.get("embedded")), number(report.get("tokens"))
    if embedded:
        after = working_seconds(report)
        told = f"{amount(tokens / after)} tokens a second" if tokens else ""
        yield "rows a second after the start-up", amount(embedded / after), told
    price = report.get("price_per_hour")
    if is_number(price):
        cost = number(price) * took / HOUR
        each = f", {amount(1e6 * cost / embedded)} a million rows" if embedded else ""
        yield "cost", amount(cost), f"at {amount(price)} an hour{each}"


def counts_section(report: Report) -> str:
    """The counts of rows, as bars."""
    rows = {name: value for name, value in table_of(report.get("rows")).items() if is_number(value)}
    often = ("read", "chunked", "embedded", "written", "dead")
    bars = [
        Bar(name.replace("_", " "), value, count(value), COLORS.get(name, "read"))
        for name, value in rows.items()
        if (value or name in often) and (name != "chunked" or value != rows.get("read"))
    ]
    more = [
        ("documents of the source", text_of(report.get("documents"))),
        ("tokens", count(report.get("tokens")) if number(report.get("tokens")) else ""),
        *(
            (name.replace("_", " "), count(report.get(name)) if number(report.get(name)) else "")
            for name in ("deletions_read", "deletions_waiting")
        ),
    ]
    return f"<h2>Counts</h2>{bar_list(bars, 'rows by what became of them')}{facts_list(more)}" if bars else ""


def models_section(report: Report) -> str:
    """Models, licences, fingerprints."""
    head = ["vector", "model", "kind", "dimension", "precision", "licence", "fingerprint"]
    rows = [
        [
            name,
            *(text_of(facts.get(key)) for key in ("model", "kind", "dim", "precision", "license")),
            str(facts.get("fingerprint") or "")[:12],
        ]
        for name, facts in tables_of(report.get("models")).items()
    ]
    whole = str(report.get("fingerprint") or "")
    if not rows and not whole:
        return ""
    lengths = [
        (
            f"average length of {name}",
            f"{text_of(found.get('avg_len'))} words, "
            + (
                f"which {found['held_by']} was filled with"
                if "held_by" in found
                else f"over {text_of(found.get('texts'))} texts"
            ),
        )
        for name, found in tables_of(report.get("statistics")).items()
    ]
    return (
        "<h2>Models</h2>"
        + html_table(head, rows, numbers=(3,))
        + facts_list([("fingerprint of the job", whole), *lengths])
    )


def sinks_section(report: Report) -> str:
    """Places that were written to, with what each of them tells; what was tried again and lost on the way."""
    sinks = [table_of(sink) for sink in list_of(report.get("sinks"))]
    told = (key for sink in sinks for key, value in sink.items() if not isinstance(value, dict | list))
    # The place may be told twice.
    keys = [
        key for key in dict.fromkeys(told) if key != "path" or any(sink.get(key) != sink.get("place") for sink in sinks)
    ]
    parts = []
    if sinks:
        rows = [[text_of(sink.get(key)) for key in keys] for sink in sinks]
        right = [at for at, key in enumerate(keys) if any(is_number(sink.get(key)) for sink in sinks)]
        parts.append("<h2>Sinks</h2>" + html_table([key.replace("_", " ") for key in keys], rows, numbers=right))
    retried = [
        (f"requests tried again, {name}", count(figures.get("retries")))
        for name, figures in tables_of(report.get("stages")).items()
        if "retries" in figures
    ]
    lost = [
        (told, count(report.get(name)))
        for name, told in (
            ("nodes_lost", "nodes lost"),
            ("nodes_joined", "nodes joined"),
            ("actors_restarted", "workers started anew"),
            ("blocks_embedded_again", "blocks embedded again"),
            ("rows_embedded_again", "rows embedded again"),
        )
        if is_number(report.get(name))
    ]
    if retried or lost:
        parts.append(f"<h2>Retries and losses</h2>{facts_list([*retried, *lost])}")
    return "".join(parts)


def notices_section(report: Report) -> str:
    """What a reader should know, texts that were cut or unknown among it."""
    told = [str(notice) for notice in list_of(report.get("notices"))]
    for name, figures in tables_of(report.get("stages")).items():
        if number(figures.get("truncated")):
            told.append(f"{count(figures['truncated'])} texts were longer than {name} takes and were cut")
        if number(figures.get("unknown")):
            told.append(f"{count(figures['unknown'])} texts are mostly unknown to the tokenizer of {name}")
    items = "".join(f"<li>{html.escape(one)}</li>" for one in told)
    return f"<h2>Notices</h2><ul>{items}</ul>" if told else ""


def passes_section(report: Report) -> str:
    """The passes of a reindexing."""
    passes = [table_of(one) for one in list_of(report.get("passes"))]
    if not passes:
        return ""
    keys = list(dict.fromkeys(key for one in passes for key in one))
    rows = [[text_of(one.get(key)) for key in keys] for one in passes]
    return "<h2>Passes</h2>" + html_table(keys, rows, numbers=range(len(keys)))


def machine_section(report: Report) -> str:
    """Cores, memory, GPUs, nodes and versions."""
    machine = table_of(report.get("machine"))
    return f"<h2>Machine</h2>{facts_list(machine_facts(machine))}" if machine else ""


def machine_facts(machine: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Tell of the machine that drove a run, and of its cluster, in names and words."""
    cores, threads = machine.get("cores"), machine.get("threads")
    if is_number(cores):
        yield (
            "cores",
            f"{text_of(cores)} of {text_of(threads)} threads, {text_of(machine.get('processor'))}".rstrip(", "),
        )
    if is_number(machine.get("memory")):
        yield "memory", size(machine["memory"])
    yield "GPUs", ", ".join(map(str, list_of(machine.get("gpus")))) or "none"
    nodes = [table_of(node) for node in list_of(machine.get("nodes"))]
    yield "nodes of the cluster", "; ".join(map(_node, nodes))
    yield "system", text_of(machine.get("system"))
    packages = [f"{name} {version}" for name, version in table_of(machine.get("packages")).items()]
    yield "versions", ", ".join([f"Python {machine.get('python')}", *packages])


def _node(node: dict[str, Any]) -> str:
    kinds = ", ".join(map(str, list_of(node.get("accelerators"))))
    parts = [count_of(number(node.get("cpus")), "CPU")]
    if number(node.get("gpus")):
        parts.append(count_of(number(node["gpus"]), "GPU") + (f" ({kinds})" if kinds else ""))
    if number(node.get("memory")):
        parts.append(f"{size(node['memory'])} for work")
    return f"{count(node.get('nodes'))} × {', '.join(parts)}"


def config_section(report: Report) -> str:
    """The job's configuration."""
    config = table_of(report.get("config"))
    if not config:
        return ""
    return f"<h2>Configuration</h2>{details('What differs from the defaults, without secrets', as_yaml(config))}"


def as_yaml(config: dict[str, Any]) -> str:
    """Show a configuration as a job's file would have it."""
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)
    return f"<pre>{html.escape(text)}</pre>"
