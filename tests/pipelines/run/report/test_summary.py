from __future__ import annotations

import io

import pyarrow as pa
from rich.console import Console

from pipelines.run.report.losses import Losses
from pipelines.run.report.report import RunReport
from pipelines.run.stages.write import RECEIPT_SCHEMA
from tests.pipelines.run.report.filled_report import filled_report, receipts

NONE_HELD = {"copied": 0, "payload_only": 0}


def test_the_summary_shows_counts_stages_sinks_and_dead_rows() -> None:
    report = filled_report()
    report.take_receipts(receipts(13, 2, 1))
    report.sinks = [{"type": "parquet", "place": "out", "points": 13}, {"type": "qdrant", "place": "gone"}]
    text = io.StringIO()
    report.show(Console(file=text, width=100))
    for word in ("complete", "chunked", "dense", "10.0%", "13 points in out", "2 dead letters", "why"):
        assert word in text.getvalue()


def test_a_dead_rows_text_cannot_be_mistaken_for_markup() -> None:
    report = filled_report()
    row = {
        "documents": 1,
        "embedded": 0,
        "written": 0,
        **NONE_HELD,
        "dead": 1,
        "samples": ["document '[/red] [bold]x' (a:1): no"],
    }
    report.take_receipts(pa.Table.from_pylist([row], schema=RECEIPT_SCHEMA))
    text = io.StringIO()
    report.show(Console(file=text, width=100))
    assert "'[/red] [bold]x'" in text.getvalue()


LONG = "photos/2024/a-holiday-by-the-sea-with-everyone/IMG_20240714_153012-edited-final.jpg"


def shown_dead(sample: str, width: int) -> list[str]:
    report = filled_report()
    row = {"documents": 1, "embedded": 0, "written": 0, **NONE_HELD, "dead": 1, "samples": [sample]}
    report.take_receipts(pa.Table.from_pylist([row], schema=RECEIPT_SCHEMA))
    text = io.StringIO()
    report.show(Console(file=text, width=width))
    return text.getvalue().partition(":\n")[2].splitlines()


def test_a_dead_letter_is_broken_between_its_fields_and_not_in_them() -> None:
    reason = "photo: ImageError: it is damaged: image file is truncated (3 bytes not processed), and more is missing"
    short = f"document 'a.jpg' (a.jpg): {reason}"
    assert shown_dead(short, 200) == [f"  {short}"]
    assert shown_dead(short, 80) == [
        "  document 'a.jpg' (a.jpg):",
        "      photo: ImageError: it is damaged: image file is truncated (3 bytes not",
        "      processed), and more is missing",
    ]
    assert shown_dead(f"document '{LONG}' ({LONG}): {reason}", 80)[:2] == [f"  document '{LONG}'", f"  ({LONG}):"]
    assert shown_dead(f"({LONG}): read: OSError: {LONG}: gone", 80) == [
        f"  ({LONG}):",
        "      read: OSError:",
        f"      {LONG}:",
        "      gone",
    ]


def summary(report: RunReport) -> str:
    text = io.StringIO()
    report.show(Console(file=text, width=160))
    return text.getvalue()


def test_what_was_lost_and_done_again_is_one_line_and_none_where_nothing_was() -> None:
    report = filled_report()
    stages = {name: dict(figures) for name, figures in report.stages.items()}
    for name in ("dense", "bm25"):
        stages[name] |= {"blocks": 5.0}
    report.take_stages(stages)
    for _ in range(3):
        report.take_receipts(receipts(4, 0))
    report.take_losses(Losses(nodes_lost=1, nodes_joined=2, actors_restarted=3))
    report.count_repeats()
    assert (report.blocks_embedded_again, report.rows_embedded_again) == (2, 3)
    line = "1 node lost, 2 nodes joined, 3 workers started anew, 2 blocks embedded again (3 rows)"
    report.deletions_waiting, report.deleted_points = 1, "deleted.parquet"
    for told in (summary(report), repr(report), report._repr_html_()):
        assert line in told
        assert "1 deletion of the source left waiting" in told
        assert "ids of deleted points: deleted.parquet" in told
    assert not any(word in summary(filled_report()) for word in ("lost", "joined", "anew", "again"))
