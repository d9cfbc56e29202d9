from __future__ import annotations

import json
import uuid
from pathlib import Path

import fsspec
import pytest
from typer.testing import CliRunner

from pipelines.cli.report import app
from tests.pipelines.run.report.page.full_report import OLD_REPORT, full_report


def call(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.output.replace("\n", "")


@pytest.fixture
def new(tmp_path: Path) -> Path:
    path = tmp_path / "new.json"
    path.write_text(json.dumps(full_report()))
    return path


def test_a_report_of_an_older_version_becomes_a_page(tmp_path: Path) -> None:
    old = tmp_path / "run.json"
    old.write_bytes(OLD_REPORT.read_bytes())
    for price in ((), ("--price-per-hour", "3")):
        assert call(str(old), *price) == (0, f"wrote {tmp_path / 'run.html'}")
    assert "at 3.00 an hour" in (tmp_path / "run.html").read_text()


def test_two_reports_are_compared(new: Path, tmp_path: Path) -> None:
    assert call(str(new), str(OLD_REPORT)) == (0, f"wrote {tmp_path / 'new_compared.html'}")
    assert "Two runs compared" in (tmp_path / "new_compared.html").read_text()
    target = tmp_path / "deep" / "page.html"
    assert call(str(new), str(new), "--output", str(target)) == (0, f"wrote {target}")
    assert "All settings are the same" in target.read_text()


def test_reports_in_stores_are_named_by_their_urls(new: Path) -> None:
    url = f"memory://reports-{uuid.uuid4().hex}"
    with fsspec.open(f"{url}/run.json", "wb") as file:
        file.write(new.read_bytes())
    assert call(f"{url}/run.json") == (0, f"wrote {url}/run.html")
    with fsspec.open(f"{url}/run.html", "rb") as file:
        assert file.read().startswith(b"<!DOCTYPE html>")


def test_what_is_no_report_and_what_cannot_be_written_is_said(new: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.html"
    notes.write_text("notes")
    other = tmp_path / "other.json"
    other.write_text('{"a": 1}')
    for arguments, code, told in (
        ([str(tmp_path / "none.json")], 2, "none.json: there is no such file; name a run's report"),
        ([str(tmp_path)], 2, "is a folder; name the file of a run's report in it"),
        ([str(other)], 2, "other.json is no run's report"),
        ([str(notes)], 2, "notes.html is no run's report"),
        (["nope://x/run.json"], 2, "Protocol not known: nope"),
        ([str(new)] * 3, 2, "3 reports: give one, or two to compare"),
        ([str(new), "--output", str(notes)], 2, "notes.html is there and is no report's page"),
        ([str(new), "--output", str(tmp_path)], 2, "is a folder; name a file"),
        ([str(new), "--output", str(notes / "page.html")], 1, "page.html cannot be written: Not a directory"),
        ([str(new), "--price-per-hour", "-1"], 2, "--price-per-hour"),
    ):
        found, output = call(*arguments)
        assert (found, told in output) == (code, True), (arguments, output)
    assert notes.read_text() == "notes"
