from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from pipelines.run.phases import PhaseLines, tell, told_to
from pipelines.run.progress import LineProgress, choose_view


def test_where_nobody_counted_the_total_is_open(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = io.StringIO()
    with choose_view(None, Console(file=text, force_terminal=True, width=120)) as bar:
        bar.update(50, 1000)
    assert "50/? documents" in text.getvalue() and "%" not in text.getvalue()
    monkeypatch.setattr("pipelines.run.progress.SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level(logging.INFO, "fleetembed"), choose_view(None, Console(file=io.StringIO())) as lines:
        lines.update(1050, 1000)
    first, second = caplog.messages
    assert first == "reading ? documents" and second.startswith("1,050/? documents, ")


def test_a_terminal_gets_a_bar_and_a_log_gets_lines(caplog: pytest.LogCaptureFixture) -> None:
    text = io.StringIO()
    with choose_view(200, Console(file=text, force_terminal=True, width=120)) as bar:
        bar.update(50, 1000)
    assert "50/200 documents" in text.getvalue() and "25%" in text.getvalue()
    view = choose_view(200, Console(file=io.StringIO()))
    assert isinstance(view, LineProgress)
    with caplog.at_level(logging.INFO, "fleetembed"), view:
        view.begin(4.25)
        view.update(50, 1000)
    assert caplog.messages == ["reading 200 documents", "the first rows reached the models after 4.2 s"]


def test_phases_are_told_to_the_log_and_to_whoever_looks(caplog: pytest.LogCaptureFixture) -> None:
    text = io.StringIO()
    with caplog.at_level(logging.INFO, "fleetembed"):
        with told_to(PhaseLines(Console(file=text, force_terminal=True, width=120, no_color=True))):
            tell("starting Ray on this machine")
            assert "  0.0 s  starting Ray on this machine" in text.getvalue()
        tell("counting the documents")
    assert "counting" not in text.getvalue()
    assert caplog.messages == ["starting Ray on this machine", "counting the documents"]
