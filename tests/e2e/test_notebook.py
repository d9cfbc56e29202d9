"""Jobs in the cells of a notebook, in a kernel of its own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.e2e.jobs import Job, Row
from tests.waiting import SECONDS, wait_until

pytestmark = pytest.mark.slow

PREPARE = """
import json, logging, os, signal, threading, time
from pathlib import Path
import fleetembed as fe
from embedders.sparse.bm25 import Bm25
os.chdir({folder!r})
job = json.loads({job!r})
def state():
    logs = [logging.getLogger(name) for name in ("", "fleetembed", "ray")]
    return [[(log.level, list(log.handlers)) for log in logs], signal.getsignal(signal.SIGINT)]
before = state()
real, gate = Bm25.embed_arrow, "out"
def gated(model, some):
    # No block goes on while one is written to the folder that the gate names.
    while gate and any(Path(gate).rglob("part-*.parquet")):
        time.sleep(0.01)
    return real(model, some)
Bm25.embed_arrow = gated
print(os.getpid())
"""
RUN = "report = fe.EmbeddingPipeline.from_config(job).run()"


class Notebook:
    """A notebook whose cells are executed one by one."""

    def __init__(self) -> None:
        self.client = NotebookClient(nbformat.v4.new_notebook(), timeout=SECONDS)  # type: ignore[no-untyped-call]

    def run(self, code: str) -> Any:
        """Execute a new cell with some code; returns what it has as output."""
        cells = self.client.nb.cells
        cells.append(nbformat.v4.new_code_cell(code))  # type: ignore[no-untyped-call]
        self.client.execute_cell(cells[-1], len(cells) - 1)
        return cells[-1].outputs

    def text(self, code: str) -> str:
        """All text of a new cell's output."""
        parts = (one.get("text") or one.get("data", {}).get("text/plain", "") for one in self.run(code))
        return "".join(parts)


@pytest.fixture(scope="module")
def notebook() -> Iterator[Notebook]:
    made = Notebook()
    with made.client.setup_kernel():
        yield made


def interrupt_once_written(job: Job, pid: int, told: list[float]) -> None:
    wait_until(lambda: any((job.folder / "out").rglob("part-*.parquet")))
    told.append(time.monotonic())
    os.kill(pid, signal.SIGINT)


def test_a_cell_is_interrupted_run_again_and_run_once_more(
    notebook: Notebook, tmp_path: Path, minilm: Path, docstrings: list[Row]
) -> None:
    sink = {"type": "parquet", "path": str(tmp_path / "out")}
    job = Job(tmp_path, minilm, [sink], {"compute": {"block_rows": 16, "engine": "local"}})
    rows = [{**row, "id": f"{row['id']} {number}"} for number in range(4) for row in docstrings]
    job.write(rows)
    prepare = PREPARE.format(folder=str(tmp_path), job=job.config_file().read_text())
    pid = int(notebook.text(prepare))

    told: list[float] = []
    thread = Thread(target=interrupt_once_written, args=(job, pid, told))
    thread.start()
    with pytest.raises(CellExecutionError, match="KeyboardInterrupt"):
        notebook.run(RUN)
    assert time.monotonic() - told[0] < 60
    thread.join()
    assert job.report["status"] == "interrupted"

    notebook.run('gate = ""')
    outputs = notebook.run(RUN)
    assert job.report["status"] == "complete"
    counts = job.report["rows"]
    assert counts["skipped"] > 0 and counts["skipped"] + counts["written"] == len(rows)
    shown = outputs[0]["data"]["text/plain"].splitlines()
    assert shown[-1].startswith("█" * 30 + f" {len(rows)}/{len(rows)} documents (100%), ")
    # The progress, and the summary.
    assert [one["output_type"] for one in outputs] == ["display_data"] * 2
    assert len(shown) < 8 and sum(len(str(one)) for one in outputs) < 20_000

    # As the value of the cell it is not shown once more; in another cell it is.
    outputs = notebook.run(f"{RUN}\nreport")
    assert [one["output_type"] for one in outputs] == ["display_data"] * 2
    (shown,) = notebook.run("report")
    assert shown["output_type"] == "execute_result" and "complete" in shown["data"]["text/html"]

    again = "print(report.rows['written'], report.rows['skipped'], state() == before)"
    assert notebook.text(f"{RUN}\n{again}").endswith(f"0 {len(rows)} True\n")
    in_a_thread = f"""
def work():
    global report
    {RUN}
thread = threading.Thread(target=work)
thread.start(); thread.join()
{again}
"""
    assert notebook.text(in_a_thread).endswith(f"0 {len(rows)} True\n")

    at_once = f"""
gate = "second"
job["sink"] = [{{"type": "parquet", "path": "second"}}]
thread = threading.Thread(target=work)
thread.start()
while not any(Path("second").rglob("part-*.parquet")):
    time.sleep(0.01)
try:
    {RUN}
except fe.SinkError as error:
    print(error)
gate = ""
thread.join()
print(report.status)
"""
    told_of_both = notebook.text(at_once)
    assert "second is held by " in told_of_both and told_of_both.endswith("complete\n")
