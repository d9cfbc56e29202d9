"""Hits as a terminal shows them."""

from __future__ import annotations

import io

from rich.console import Console

from pipelines.cli.hits import show_answers, show_hits
from pipelines.search import Hit, Searcher


def test_answers_show_each_vector_and_the_text(searcher: Searcher) -> None:
    console = Console(file=io.StringIO(), width=120)
    show_answers("large snakes [really]", searcher, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "large snakes [really]" in shown
    assert all(word in shown for word in ("dense", "bm25", "colbert", "fused", "Pythons are large snakes"))


def test_scores_of_a_fusion_with_a_large_k_can_be_told_apart() -> None:
    console = Console(file=io.StringIO(), width=60)
    show_hits([Hit("1", 2 / 60), Hit("2", 1 / 60 + 1 / 61), Hit("3", 0.0)], console)
    scores = [line.split()[0] for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert scores == ["0.03333", "0.03306", "0.00000"]


def test_hits_of_long_names_and_odd_payloads_stay_on_one_line_each() -> None:
    console = Console(file=io.StringIO(), width=60)
    hits = [
        Hit("1", 0.5, {"document_id": "d" * 90, "text": "[red]one[/red]\n two " * 40, "tags": ["a"]}),
        Hit("2", -12.25, {"text": None}),
    ]
    show_hits(hits, console, keys=["tags"])
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 3 and all(len(line) <= 60 for line in lines)
    assert '["a"]' in lines[1] and "[red]" in lines[1] and "-12.250" in lines[2]
    assert "None" not in lines[2]
    show_hits([], console)
    assert "nothing found" in console.file.getvalue()  # type: ignore[attr-defined]
