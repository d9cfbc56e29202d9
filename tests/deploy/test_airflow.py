"""The bash command of Airflow's DAG, with a stand-in for the command ``ray`` that notes how it is called."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
from pathlib import Path

import pytest
from jinja2 import Template

from tests.conftest import ROOT
from tests.waiting import SECONDS, wait_until

DAG = ROOT / "deploy" / "airflow" / "fleetembed_dag.py"
# Submitting lasts as long as the job, which is told by a file what to end with.
RAY = """#!/bin/bash
echo "$*" >> "$CALLS"
case "$2" in
  submit) while [ ! -e "$ENDED" ]; do sleep 0.05; done; exit "$(cat "$ENDED")" ;;
  stop) [ "$3" != docs-manual--2026-01-02T02-30-00-00-00-1 ] ;;
esac
"""


class Task:
    """A try of the task at work."""

    def __init__(self, folder: Path, number: int) -> None:
        self.calls, self.ended = folder / "calls", folder / "ended"
        (folder / "ray").write_text(RAY)
        (folder / "ray").chmod(0o755)
        context = {"run_id": "manual__2026-01-02T02:30:00+00:00", "ti": {"try_number": number}}
        environment = {"PATH": f"{folder}:{os.environ['PATH']}", "CALLS": str(self.calls), "ENDED": str(self.ended)}
        command = ["bash", "-c", Template(command_of_the_dag()).render(context)]
        self.process = subprocess.Popen(command, env=environment, start_new_session=True)
        wait_until(lambda: self.calls.exists() and "job submit" in self.calls.read_text())

    def lines(self) -> list[str]:
        """What ``ray`` was called with."""
        return self.calls.read_text().splitlines()


def command_of_the_dag() -> str:
    """The text that the DAG gives to bash, before Airflow fills it in."""
    assigned = [one for one in ast.parse(DAG.read_text()).body if isinstance(one, ast.Assign)]
    (text,) = (one.value for one in assigned if isinstance(one.targets[0], ast.Name) and one.targets[0].id == "SUBMIT")
    return str(ast.literal_eval(text))


@pytest.mark.parametrize("code", [0, 1])
def test_a_task_ends_as_the_command_that_submits_does(tmp_path: Path, code: int) -> None:
    task = Task(tmp_path, 1)
    task.ended.write_text(str(code))
    assert task.process.wait(SECONDS) == code
    name = "docs-manual--2026-01-02T02-30-00-00-00-1"
    assert task.lines() == [f"job submit --submission-id {name} -- fleetembed embed --config /home/ray/job.yaml"]


def test_a_later_try_first_stops_the_jobs_of_those_before_it_also_where_one_is_unknown(tmp_path: Path) -> None:
    task = Task(tmp_path, 3)
    task.ended.write_text("0")
    assert task.process.wait(SECONDS) == 0
    name = "docs-manual--2026-01-02T02-30-00-00-00"
    assert task.lines()[:2] == [f"job stop {name}-1", f"job stop {name}-2"]
    assert task.lines()[2].startswith(f"job submit --submission-id {name}-3 ")


@pytest.mark.parametrize("whole_group", [True, False], ids=["as Airflow does", "bash alone"])
def test_a_task_that_is_ended_stops_its_job(tmp_path: Path, whole_group: bool) -> None:
    task = Task(tmp_path, 2)
    if whole_group:
        os.killpg(task.process.pid, signal.SIGTERM)
    else:
        task.process.terminate()
    assert task.process.wait(SECONDS) == 143
    assert task.lines()[-1] == "job stop docs-manual--2026-01-02T02-30-00-00-00-2"
    # For the stand-in, should it still wait.
    task.ended.write_text("0")
