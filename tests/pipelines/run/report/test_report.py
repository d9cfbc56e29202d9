from __future__ import annotations

import pytest

from pipelines.run.report.losses import Losses
from pipelines.run.report.report import MAX_SAMPLES, RunReport
from pipelines.run.tally import figures_of
from tests.pipelines.run.report.filled_report import filled_report, receipts

NONE = {"copied": 0, "payload_only": 0, "deleted": 0}


def test_counts_come_from_stages_and_receipts() -> None:
    report = filled_report()
    report.take_receipts(receipts(12, 2, 2))
    report.take_receipts(receipts(1, 0))
    assert report.rows == {"read": 10, "chunked": 20, "skipped": 5, "embedded": 15, **NONE, "written": 13, "dead": 2}
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
    report = filled_report()
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


def test_rows_that_were_read_again_count_once() -> None:
    report = filled_report()
    report.take_stages({**report.stages, "skip": {"rows": 5.0, "reread_documents": 4.0, "reread_rows": 8.0}})
    assert (report.rows["read"], report.rows["chunked"]) == (6, 12)


def test_lost_figures_are_said_to_be_lost_once_and_receipts_stand_in_for_them() -> None:
    report = filled_report()
    report.take_receipts(receipts(20, 0))
    report.take_losses(Losses(figures=True))
    report.take_losses(Losses(figures=True), at_end=True)
    report.take_stages(report.stages)
    report.count_repeats()
    assert report.rows["embedded"] == report.rows["written"] == 20
    assert [notice for notice in report.notices if "process that counts was lost" in notice] == report.notices
    assert "blocks and rows embedded again are not known" in report.notices[0]
    assert report.blocks_embedded_again == report.rows_embedded_again == 0
