"""What a process and all that it starts use: memory and CPU time, looked at again and again while they run."""

from __future__ import annotations

import resource
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil

SECONDS_BETWEEN = 0.25


class TreeUsage:
    """Peaks of memory (proportional set size, bytes) of the first process and of all together, CPU and wall seconds."""

    def __init__(self) -> None:
        self.first_peak = self.peak = 0
        self.cpu_seconds = self.seconds = 0.0
        self._cpu: dict[tuple[int, float], float] = {}

    def look(self, first: psutil.Process) -> None:
        """Look at a process and its descendants once."""
        processes = [first]
        with suppress(psutil.Error):
            processes += first.children(recursive=True)
        total = 0
        for process in processes:
            with suppress(psutil.Error):
                memory = process.memory_full_info().pss
                times = process.cpu_times()
                self._cpu[process.pid, process.create_time()] = times.user + times.system
                total += memory
                if process is first:
                    self.first_peak = max(self.first_peak, memory)
        self.peak = max(self.peak, total)

    def end(self, seconds: float, waited_for: float) -> None:
        """Take the end's times: of CPU time what was seen, or what the system tells of those that were waited for.

        The first lacks what a process used after the last look at it, the second processes whose parent was gone.
        """
        self.seconds = seconds
        self.cpu_seconds = max(waited_for, sum(self._cpu.values()))


def run_watched(command: Sequence[str], env: Mapping[str, str]) -> TreeUsage:
    """Run a command to its end; raises SystemExit with the end of what it said where it fails."""
    usage = TreeUsage()
    before, started = _waited_for(), time.perf_counter()
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(command, env=env, stdout=said, stderr=subprocess.STDOUT) as child:
            process = psutil.Process(child.pid)
            while child.poll() is None:
                usage.look(process)
                with suppress(subprocess.TimeoutExpired):
                    child.wait(SECONDS_BETWEEN)
        if child.returncode:
            said.seek(0)
            text = said.read()[-2000:].decode(errors="replace")
            raise SystemExit(f"{' '.join(command)} ended with {child.returncode}: {text}")
    usage.end(time.perf_counter() - started, _waited_for() - before)
    return usage


def _waited_for() -> float:
    times = resource.getrusage(resource.RUSAGE_CHILDREN)
    return times.ru_utime + times.ru_stime
