"""The benchmark of growing corpora, on a few rows."""

from __future__ import annotations

from pathlib import Path

import pyarrow.dataset as pads
import pytest
import typer

from benchmarks import growing_corpus, scale
from benchmarks.growing_corpus import write_corpus


@pytest.fixture(autouse=True)
def _few_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing_corpus, "stdlib_texts", lambda: [f"word{number} other" for number in range(2000)])


def test_rows_of_a_growing_corpus_differ_and_are_always_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing_corpus, "ROWS_A_GROUP", 40)
    monkeypatch.setattr(growing_corpus, "GROUPS_A_FILE", 2)
    for name, rows in (("a", 200), ("again", 200), ("fewer", 100)):
        write_corpus(tmp_path / name, rows, words=24)
    assert len(list((tmp_path / "a").iterdir())) == 3
    rows, again, fewer = (pads.dataset(tmp_path / name).to_table().to_pylist() for name in ("a", "again", "fewer"))
    assert rows == again and fewer[:80] == rows[:80]
    texts = [row["text"] for row in rows]
    lengths = [len(text.split()) for text in texts]
    assert len(set(texts)) == len({row["id"] for row in rows}) == 200
    assert 20 < sum(lengths) / 200 < 28 and min(lengths) >= 8 and max(lengths) <= 40


def test_jobs_of_growing_size_are_measured_and_lose_no_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scale.scale(rows=[300, 100], embedding=["bm25"], engine="local", words=12, block_rows=50, folder=tmp_path)
    printed = capsys.readouterr().out
    assert "bm25, 100 rows" in printed and "bm25, 300 rows" in printed
    assert "BM25; 12 words a text, engine local, 50 rows a block" in printed
    line = next(line for line in printed.splitlines() if line.startswith("│ 300 "))
    assert line.replace("│", " ").split()[6] == "6"
    assert "what a further row costs" in printed and "100 to 300" in printed
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("before", "cost", "told"),
    [(0, 2, ""), (2, 2.2, "straight (1.10)"), (2, 3, "bends (1.50)"), (2, 1, "bends (0.50)")],
)
def test_a_line_bends_where_a_further_row_costs_another_price(before: float, cost: float, told: str) -> None:
    assert scale._bend(before, cost) == told


def test_an_embedding_that_nobody_knows_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="dense: one of bm25, static"):
        scale.scale(rows=[100], embedding=["dense"])
