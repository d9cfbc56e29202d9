"""Hits as a notebook shows them."""

from __future__ import annotations

import pytest

from pipelines.search import Hit

LONG = "Return a line.\n\nBefore the first line has been read, this is None. " * 5


@pytest.mark.parametrize(
    ("hit", "shown"),
    [
        (
            Hit("7", 0.70249, {"document_id": "a.py", "text": "Two\n words"}),
            "Hit('a.py', score=0.702, text='Two words')",
        ),
        (Hit("7", 2, {"document_id": "a.py", "chunk_no": 3}), "Hit('a.py (chunk 3)', score=2.000, payload={"),
        (Hit("7", -1.5), "Hit('7', score=-1.500)"),
        (Hit("7", 1 / 60 + 1 / 61), "Hit('7', score=0.03306)"),
        (Hit("7", 0), "Hit('7', score=0.000)"),
        (Hit("7", 1, {"content": LONG}), "Hit('7', score=1.000, payload={'content': 'Return"),
        (Hit("7", 1, {"text": LONG}), "Hit('7', score=1.000, text='Return a line. Before the first line has been read"),
    ],
)
def test_a_hit_shows_title_score_and_the_beginning_of_its_text_on_one_line(hit: Hit, shown: str) -> None:
    assert repr(hit).startswith(shown) and repr(hit).endswith(")")
    assert len(repr(hit)) < 140 and "\n" not in repr(hit)
