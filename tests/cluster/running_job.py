"""A job in a process of its own, as the command line starts it, and what it left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.waiting import SECONDS, wait_until

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


@dataclass
class RunningJob:
    """A job's process; ``report`` is what its file says at this moment."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def report(self) -> dict[str, Any]:
        """The figures of the moment; none before the job has written any."""
        with suppress(FileNotFoundError):
            found: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
            return found
        return {"rows": {"written": 0}, "status": "running"}

    @property
    def output(self) -> str:
        """What it has said on the terminal."""
        return (self.folder / "output.txt").read_text()

    def wait_for_rows(self, least: int) -> None:
        """Wait until so many rows are written; the job must still be at work then."""
        wait_until(lambda: self.process.poll() is not None or self.report["rows"]["written"] >= least)
        assert self.process.poll() is None, self.output

    def end(self) -> int:
        """Wait for the end of it; returns its exit code."""
        return self.process.wait(SECONDS)


@contextmanager
def start_job(folder: Path, config: dict[str, Any]) -> Iterator[RunningJob]:
    """Run a job's configuration, with its report in the folder; what still runs in the end is killed."""
    base = {"report": str(folder / "report.json"), "corpus": "test"}
    (folder / "job.yaml").write_text(json.dumps({**base, **config}))
    kept = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "COLUMNS")}
    command = [sys.executable, "jobs/embed_corpus.py", "--config", str(folder / "job.yaml")]
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env={**kept, "COLUMNS": "200"}, stdout=output, stderr=output)
    try:
        yield RunningJob(folder, process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def write_corpus(folder: Path, rows: Sequence[dict[str, Any]], files: int) -> Path:
    """Write rows as JSON lines into so many files, which are read in tasks of their own if they are large."""
    source = folder / "corpus"
    source.mkdir()
    for number in range(files):
        lines = "".join(json.dumps(row) + "\n" for row in rows[number::files])
        (source / f"{number:03}.jsonl").write_text(lines, encoding="utf-8")
    return source


def dense(model: Path) -> list[dict[str, Any]]:
    """A real model for a job's embeddings, which takes its time."""
    return [{"name": "dense", "model": MINILM, "path": str(model)}]
