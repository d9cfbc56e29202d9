from __future__ import annotations

import json
import uuid
from pathlib import Path

import fsspec
import pytest

from pipelines.errors import ConfigError
from pipelines.run.report.report import RunReport
from tests.pipelines.run.report.filled_report import filled_report


def test_the_file_holds_every_figure_and_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.json"
    report = filled_report()
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
    filled_report().save(path)
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
    filled_report().save(url)
    RunReport.refuse_foreign_file(url)
    with fsspec.open(url) as file:
        assert json.load(file)["status"] == "complete"
    with fsspec.open(url, "wb") as file:
        file.write(b"notes")
    with pytest.raises(ConfigError, match=r"run\.json is there and is no run's report"):
        RunReport.refuse_foreign_file(url)
