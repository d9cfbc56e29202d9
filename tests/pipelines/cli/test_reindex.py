"""The command that reindexes, as it is called; tests/pipelines/reindex has its whole way."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.conftest import ROOT


def test_the_script_offers_all_of_the_commands() -> None:
    app = runpy.run_path(str(ROOT / "jobs" / "reindex.py"))["app"]
    told = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    for command in ("plan", "run", "verify", "switch", "rollback", "status", "clean"):
        assert f" {command} " in told


@pytest.mark.parametrize("command", ["plan", "run", "verify", "switch", "rollback", "status", "clean"])
def test_a_configuration_that_is_not_there_is_one_message_and_2(command: str, tmp_path: Path) -> None:
    app = runpy.run_path(str(ROOT / "jobs" / "reindex.py"))["app"]
    done = CliRunner().invoke(app, [command, "--config", str(tmp_path / "nowhere.yaml")])
    assert done.exit_code == 2 and "cannot read the job's configuration" in done.output
