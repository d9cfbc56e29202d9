"""What a page shows of texts and their tokens: lengths, the cut, padding; and of the rows that are dead."""

from __future__ import annotations

import html
from bisect import bisect_left

from embedders.length_counts import LONGEST
from pipelines.run.report.page.charts import Axis, Bar, Color, bar_list, columns
from pipelines.run.report.page.fields import (
    Report,
    details,
    embeddings_of,
    figures_of_embedding,
    html_table,
    list_of,
    table_of,
    tables_of,
)
from pipelines.run.report.page.numbers import count, is_number, number, share

MOST_MARKS, MOST_EMPTY = 6, 8
BINS = [int(longest) for longest in LONGEST]


def lengths_section(report: Report) -> str:
    """Histograms of the texts' lengths in tokens, with the cut; empty where nobody counted them."""
    charts = [
        _histogram(name, found, number(figures_of_embedding(report, name).get("truncated")))
        for name, found in tables_of(report.get("token_lengths")).items()
        if _bins(found)
    ]
    if not charts:
        return ""
    return (
        "<h2>Length of texts</h2><p>Tokens that a model was given of each text, special tokens and prompts among them. "
        "The broken line is where texts are cut (max_length); those that were longer are red.</p>"
        f'<div class="charts">{"".join(charts)}</div>'
    )


def _bins(found: dict[str, object]) -> dict[int, int]:
    """Texts by the longest of their bin, with the empty bins between."""
    pairs = zip(list_of(found.get("up_to")), list_of(found.get("texts")), strict=False)
    known = {
        int(longest): int(texts) for longest, texts in pairs if is_number(longest) and is_number(texts) and texts > 0
    }
    if not known:
        return {}
    between = [longest for longest in BINS if min(known) <= longest <= max(known)]
    return {longest: known.get(longest, 0) for longest in sorted({*between, *known})}


def _histogram(name: str, found: dict[str, object], truncated: float) -> str:
    bins = _bins(found)
    longest, all_texts = list(bins), sum(bins.values())
    limit = int(number(found.get("max_length"))) or None
    if limit is not None and limit <= BINS[-1]:
        # The cut is on the chart when it is near: else it would press the columns together.
        empty = [one for one in BINS[: bisect_left(BINS, limit) + 1] if one > longest[-1]]
        longest += empty if len(empty) <= MOST_EMPTY else []
    parts: list[list[tuple[float, Color]]] = []
    hints = []
    at_cut = None if limit is None else bisect_left(longest, limit)
    for place, top in enumerate(longest):
        texts, low = bins.get(top, 0), _shortest(top)
        cut = min(truncated, texts) if place == at_cut else 0.0
        parts.append([(texts - cut, "work"), (cut, "bad")] if cut else [(texts, "work")])
        tokens = f"{top:,} tokens" if low == top else f"{low:,} to {top:,} tokens"
        hints.append(f"{tokens}: {count(texts)} texts" + (f", {count(cut)} of them cut" if cut else ""))
    told = f"{count(all_texts)} texts"
    if limit is not None:
        told += f", cut at {limit:,} tokens: {count(truncated)} ({share(truncated / all_texts)})"
        if at_cut is not None and at_cut >= len(longest):
            told += f"; the cut is far to the right of the longest, of {longest[-1]:,} tokens at most"
    edge = None if at_cut is None or at_cut >= len(longest) else (at_cut + 1) / len(longest)
    axis = Axis(_marks(longest), "tokens of a text, at most")
    chart = columns(name, f"{name}: {told}", parts, hints, axis, unit="texts", cut=edge)
    table = html_table(["tokens", "texts"], (hint.split(": ", 1) for hint in hints))
    return f"<div>{chart}<p>{html.escape(told)}.</p>{details('Lengths as a table', table)}</div>"


def _marks(longest: list[int]) -> list[tuple[float, str]]:
    """Name some columns below the chart: powers of two, the last of them always, as it is mostly the cut."""
    powers = [place for place, top in enumerate(longest) if top & (top - 1) == 0]
    if not powers:
        powers = list(range(len(longest)))
    every = -(-len(powers) // MOST_MARKS)
    return [((place + 0.5) / len(longest), f"{longest[place]:,}") for place in powers[::-1][::every]][::-1]


def _shortest(longest: int) -> int:
    at = bisect_left(BINS, longest)
    return 1 if at == 0 else BINS[at - 1] + 1


def padding_section(report: Report) -> str:
    """What each model computed for nothing: padding. Empty where no model pads."""
    bars, facts = [], []
    for name in embeddings_of(report):
        figures = figures_of_embedding(report, name)
        tokens, padded = number(figures.get("tokens")), number(figures.get("padded_tokens"))
        if padded > tokens > 0:
            waste = 1 - tokens / padded
            bars.append(Bar(name, waste, share(waste), "other"))
            facts.append([name, count(tokens), count(padded - tokens), share(waste)])
    if not bars:
        return ""
    return (
        "<h2>Padding</h2><p>Texts of one batch are filled up to the longest: the share of what a model computed that "
        f"was filler.</p>{bar_list(bars, 'share of padding by embedding', whole=1.0)}"
        + html_table(["embedding", "tokens", "padding tokens", "share"], facts, numbers=(1, 2, 3))
    )


def dead_section(report: Report) -> str:
    """Dead letters by their reasons, with samples; of an older report, samples alone. Empty where there are none."""
    dead = number(table_of(report.get("rows")).get("dead"))
    if not dead:
        return ""
    reasons = [table_of(reason) for reason in list_of(report.get("dead_reasons"))]
    reasons = sorted((one for one in reasons if one), key=lambda one: -number(one.get("rows")))
    where = report.get("dead_letters")
    parts = [f"<h2>Dead letters</h2><p>{count(dead)} rows, which are in {html.escape(str(where))}.</p>"]
    if reasons:
        names = [f"{reason.get('stage')}: {reason.get('type')}" for reason in reasons]
        bars = [
            Bar(name, number(reason.get("rows")), count(reason.get("rows")), "bad")
            for name, reason in zip(names, reasons, strict=True)
        ]
        parts.append(bar_list(bars, "dead letters by reason"))
        parts += [
            f"<h3>{html.escape(name)}</h3>{_samples(list_of(reason.get('samples')))}"
            for name, reason in zip(names, reasons, strict=True)
        ]
    else:
        parts.append(_samples(list_of(report.get("dead_samples"))))
    return "".join(parts)


def _samples(samples: list[object]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(str(sample))}</li>' for sample in samples)}</ul>"
