"""Signals while a program stops: they are counted, answered, and in the end obeyed."""

from __future__ import annotations

import signal
import subprocess
import sys
from types import ModuleType

import pytest

from pipelines.stopping import stoppable
from tests.conftest import ROOT
from tests.waiting import SECONDS

PROGRAM = """
import select, signal, sys, time
from pipelines.stopping import end_at_once, stoppable

def first_act():
    print("first act", flush=True)

with stoppable(signal.SIGINT, signal.SIGTERM, first_act=first_act):
    try:
        with stoppable(signal.SIGINT):
            print("working", flush=True)
            time.sleep(60)
    except KeyboardInterrupt:
        print("closing", flush=True)
        # A read that begins as a signal comes would keep it waiting.
        while not select.select([sys.stdin], [], [], 0.05)[0]:
            pass
        print("closed", flush=True)
    end_at_once(7)
print("over", flush=True)
time.sleep(60)
"""


class Program:
    """The program above, whose errors come with its output, in the order of both."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
        )
        self.line()

    def line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().rstrip()

    def send(self, number: signal.Signals) -> str:
        self._process.send_signal(number)
        return self.line()

    def go_on(self) -> str:
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.line()

    def end(self) -> int:
        return self._process.wait(SECONDS)


def test_the_first_signal_interrupts_and_further_ones_disturb_nothing() -> None:
    program = Program()
    assert program.send(signal.SIGTERM) == "first act"
    assert program.line() == "closing"
    told = "still stopping: what is under way is being closed; "
    assert program.send(signal.SIGINT) == f"{told}3 more times ends it at once"
    assert program.send(signal.SIGTERM) == f"{told}2 more times ends it at once"
    assert program.send(signal.SIGINT) == f"{told}once more ends it at once"
    assert (program.go_on(), program.line()) == ("closed", "over")
    assert program.send(signal.SIGINT) == ""
    assert program.end() == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_fifth_ends_the_program_at_once(number: signal.Signals) -> None:
    program = Program()
    assert (program.send(number), program.line()) == ("first act", "closing")
    for _ in range(3):
        program.send(number)
    assert program.send(number) == ""
    assert program.end() == 130


def test_the_fifth_signal_does_not_end_a_notebooks_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel.kernelapp", ModuleType("ipykernel.kernelapp"))
    with stoppable(signal.SIGTERM):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
