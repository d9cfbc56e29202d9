from __future__ import annotations

import io
import json
import logging
import uuid
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from rich.console import Console

from pipelines.errors import ConfigError
from pipelines.run.progress import LineProgress, choose_view
from pipelines.run.report.losses import Losses
from pipelines.run.report.report import MAX_SAMPLES, RunReport
from pipelines.run.stages.job_stages import RECEIPT_SCHEMA
from pipelines.run.tally import figures_of


def filled() -> RunReport:
    report = RunReport("run", "corpus", status="complete", models={"dense": {"model": "m"}, "bm25": {"model": "b"}})
    report.take_stages(
        {
            "read": {"rows": 10.0, "chunks": 20.0, "seconds": 1.0},
            "skip": {"rows": 5.0, "seconds": 0.5},
            "dense": {"rows": 15.0, "tokens": 90.0, "padded_tokens": 100.0, "seconds": 3.0},
            "bm25": {"rows": 15.0, "tokens": 30.0, "padded_tokens": 30.0, "seconds": 0.1},
        }
    )
    return report


def receipts(written: int, dead: int, samples: int = 0) -> pa.Table:
    came = written + dead
    row = {"documents": came, "embedded": came, "written": written, "dead": dead, "samples": ["why"] * samples}
    return pa.Table.from_pylist([row], schema=RECEIPT_SCHEMA)


def test_counts_come_from_stages_and_receipts() -> None:
    report = filled()
    report.take_receipts(receipts(12, 2, 2))
    report.take_receipts(receipts(1, 0))
    assert report.rows == {"read": 10, "chunked": 20, "skipped": 5, "embedded": 15, "written": 13, "dead": 2}
    assert report.settled == 20
    assert report.tokens == 120
    assert report.stages["dense"]["padding_waste"] == 0.1
    assert report.padding_waste == pytest.approx(1 - 120 / 130, abs=1e-4)


def test_a_stage_that_gives_several_vectors_counts_once() -> None:
    models = {f"m3_{kind}": {"embedding": "m3", "model": "m"} for kind in ("dense", "sparse")}
    report = RunReport("run", "corpus", models={**models, "bm25": {"embedding": "bm25", "model": "b"}})
    assert report.embeddings == ["m3", "bm25"]
    report.take_stages(
        {"read": {"rows": 2.0}, "m3": {"rows": 2.0, "tokens": 30.0, "padded_tokens": 40.0}, "bm25": {"tokens": 5.0}}
    )
    assert (report.rows["embedded"], report.tokens) == (2, 35)
    assert report.stages["m3"]["padding_waste"] == 0.25


@pytest.mark.parametrize("name", ["read", "skip", "write parquet"])
def test_an_embedding_that_is_called_as_a_stage_is_not_taken_for_it(name: str) -> None:
    report = RunReport("run", "corpus", models={name: {"embedding": name, "model": "m"}})
    stages = {"read": {"rows": 9.0}, "skip": {"rows": 2.0}, "write parquet": {"rows": 7.0}}
    report.take_stages({**stages, figures_of(name): {"rows": 7.0, "tokens": 50.0}})
    assert {key: report.rows[key] for key in ("read", "skipped", "embedded")} == {
        "read": 9,
        "skipped": 2,
        "embedded": 7,
    }
    assert report.tokens == 50


def test_samples_of_dead_rows_are_bounded() -> None:
    report = filled()
    for _ in range(10):
        report.take_receipts(receipts(0, 3, 3))
    assert len(report.dead_samples) == MAX_SAMPLES


@pytest.mark.parametrize(
    ("status", "dead", "code"), [("complete", 0, 0), ("complete", 1, 3), ("failed", 0, 1), ("interrupted", 1, 1)]
)
def test_exit_codes(status: str, dead: int, code: int) -> None:
    report = RunReport("run", "corpus", status=status)  # type: ignore[arg-type]
    report.rows["dead"] = dead
    assert report.exit_code == code


def test_the_file_holds_every_figure_and_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.json"
    report = filled()
    report.save(path)
    report.status = "failed"
    report.save(path)
    found = json.loads(path.read_text())
    assert found["status"] == "failed" and found["rows"]["chunked"] == 20
    assert [file.name for file in path.parent.iterdir()] == ["report.json"]


def test_only_an_earlier_report_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    RunReport.refuse_foreign_file(path)
    path.touch()
    RunReport.refuse_foreign_file(path)
    filled().save(path)
    RunReport.refuse_foreign_file(path)
    for content in ('{"id": "a", "text": "a document"}', "[]", "corpus: k", "\ufeff{}"):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(ConfigError, match=r"report\.json is there and is no run's report"):
            RunReport.refuse_foreign_file(path)
    with pytest.raises(ConfigError, match="/dev/null is there and is no run's report"):
        RunReport.refuse_foreign_file("/dev/null")


def test_a_report_may_be_at_any_url_of_fsspec() -> None:
    url = f"memory://reports-{uuid.uuid4().hex}/run.json"
    RunReport.refuse_foreign_file(url)
    filled().save(url)
    RunReport.refuse_foreign_file(url)
    with fsspec.open(url) as file:
        assert json.load(file)["status"] == "complete"
    with fsspec.open(url, "wb") as file:
        file.write(b"notes")
    with pytest.raises(ConfigError, match=r"run\.json is there and is no run's report"):
        RunReport.refuse_foreign_file(url)


def test_the_summary_shows_counts_stages_sinks_and_dead_rows() -> None:
    report = filled()
    report.take_receipts(receipts(13, 2, 1))
    report.sinks = [{"type": "parquet", "place": "out", "points": 13}, {"type": "qdrant", "place": "gone"}]
    text = io.StringIO()
    report.show(Console(file=text, width=100))
    for word in ("complete", "chunked", "dense", "10.0%", "13 points in out", "2 dead letters", "why"):
        assert word in text.getvalue()


def test_a_dead_rows_text_cannot_be_mistaken_for_markup() -> None:
    report = filled()
    row = {"documents": 1, "embedded": 0, "written": 0, "dead": 1, "samples": ["document '[/red] [bold]x' (a:1): no"]}
    report.take_receipts(pa.Table.from_pylist([row], schema=RECEIPT_SCHEMA))
    text = io.StringIO()
    report.show(Console(file=text, width=100))
    assert "'[/red] [bold]x'" in text.getvalue()


LONG = "photos/2024/a-holiday-by-the-sea-with-everyone/IMG_20240714_153012-edited-final.jpg"


def shown_dead(sample: str, width: int) -> list[str]:
    report = filled()
    row = {"documents": 1, "embedded": 0, "written": 0, "dead": 1, "samples": [sample]}
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


def test_a_terminal_gets_a_bar_and_a_log_gets_lines(caplog: pytest.LogCaptureFixture) -> None:
    text = io.StringIO()
    with choose_view(200, Console(file=text, force_terminal=True, width=120)) as bar:
        bar.update(50, 1000)
    assert "50/200 documents" in text.getvalue() and "25%" in text.getvalue()
    view = choose_view(200, Console(file=io.StringIO()))
    assert isinstance(view, LineProgress)
    with caplog.at_level(logging.INFO, "fleetembed"), view:
        view.update(50, 1000)
    assert caplog.messages == ["embedding 200 documents"]


def summary(report: RunReport) -> str:
    text = io.StringIO()
    report.show(Console(file=text, width=160))
    return text.getvalue()


def test_what_was_lost_and_done_again_is_one_line_and_none_where_nothing_was() -> None:
    report = filled()
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
    assert line in summary(report)
    assert not any(word in summary(filled()) for word in ("lost", "joined", "anew", "again"))


def test_rows_that_were_read_again_count_once() -> None:
    report = filled()
    report.take_stages({**report.stages, "skip": {"rows": 5.0, "reread_documents": 4.0, "reread_rows": 8.0}})
    assert (report.rows["read"], report.rows["chunked"]) == (6, 12)


def test_lost_figures_are_said_to_be_lost_once_and_receipts_stand_in_for_them() -> None:
    report = filled()
    report.take_receipts(receipts(20, 0))
    report.take_losses(Losses(figures=True))
    report.take_losses(Losses(figures=True), at_end=True)
    report.take_stages(report.stages)
    report.count_repeats()
    assert report.rows["embedded"] == report.rows["written"] == 20
    assert [notice for notice in report.notices if "process that counts was lost" in notice] == report.notices
    assert report.blocks_embedded_again == report.rows_embedded_again == 0
