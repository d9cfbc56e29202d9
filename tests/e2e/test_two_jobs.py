"""Two jobs at once into one place: the second one is told who is there, and a run that was killed hinders nobody."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from qdrant_client import QdrantClient
from rich.console import Console

from embedders.sparse.bm25 import Bm25
from pipelines import EmbeddingPipeline, Searcher
from pipelines.errors import SinkError, TooManyErrorsError
from pipelines.run.report.report import RunReport
from pipelines.sinks.lease.file import DiskLease
from pipelines.sinks.lease.holder import Holder
from pipelines.sinks.lease.record import ParquetRecord
from pipelines.sinks.qdrant.client import open_folder
from pipelines.sinks.qdrant.collection import Collection
from tests.conftest import ROOT
from tests.pipelines.sinks import rows
from tests.qdrant_server import QdrantTestServer
from tests.waiting import SECONDS, wait_until

COUNT = 12
# Runs a job that says when its model gets the first rows, and goes on when it is told to.
PAUSED = """
import sys, time
from pathlib import Path
from rich.console import Console
from embedders.sparse.bm25 import Bm25
from pipelines import EmbeddingPipeline
folder, real = Path(sys.argv[1]).parent, Bm25.embed_arrow
def paused(model, some):
    (folder / "there").touch()
    while not (folder / "go").exists():
        time.sleep(0.02)
    return real(model, some)
Bm25.embed_arrow = paused
sys.exit(EmbeddingPipeline.from_config(sys.argv[1]).run(console=Console(stderr=True)).exit_code)
"""


class Place:
    """A sink, and jobs that write to it, each with a report of its own."""

    def __init__(self, folder: Path, sink: dict[str, Any]) -> None:
        self.folder, self.sink = folder, sink
        self.corpus = folder / "in.jsonl"
        self.corpus.write_text("".join(json.dumps({"id": f"d{n}", "text": f"word{n}"}) + "\n" for n in range(COUNT)))

    def config(self, name: str) -> dict[str, Any]:
        return {
            "corpus": "books",
            "source": {"path": str(self.corpus), "id": "id"},
            "embeddings": [{"name": "bm25", "model": "Qdrant/bm25", "options": {"avg_len": 1}}],
            "sink": self.sink,
            "compute": {"engine": "local"},
            "report": str(self.folder / f"{name}.json"),
        }

    def pipeline(self, name: str = "second") -> EmbeddingPipeline:
        return EmbeddingPipeline.from_config(self.config(name))

    def run(self, name: str = "second") -> RunReport:
        return self.pipeline(name).run(console=Console(quiet=True))

    def write_config(self, name: str) -> Path:
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(self.config(name)))
        return path

    @contextmanager
    def paused(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """A job in a process of its own, in the middle of its embedding."""
        (self.folder / "there").unlink(missing_ok=True)
        command = [sys.executable, "-W", "ignore", "-c", PAUSED, str(self.write_config(name))]
        with subprocess.Popen(command, cwd=ROOT) as process:
            try:
                wait_until(lambda: (self.folder / "there").exists() or process.poll() is not None)
                assert process.poll() is None
                yield process
            finally:
                process.kill()

    def count(self) -> int:
        """Points that the place holds, each of which is there once."""
        if self.sink["type"] == "parquet":
            names = ds.dataset(self.sink["path"]).to_table(columns=["id"])["id"].to_pylist()
            assert len(set(names)) == len(names)
            return len(names)
        path = self.sink.get("path")
        with closing(QdrantClient(url=self.sink["url"]) if path is None else open_folder(path)) as client:
            return client.count("c").count


@pytest.fixture(params=["parquet", "folder", pytest.param("server", marks=pytest.mark.server)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    kinds = {
        "parquet": lambda: {"type": "parquet", "path": str(tmp_path / "out")},
        "folder": lambda: {"type": "qdrant", "path": str(tmp_path / "out"), "collection": "c"},
        "server": lambda: {"type": "qdrant", "url": request.getfixturevalue("qdrant_url"), "collection": "c"},
    }
    return Place(tmp_path, kinds[request.param]())


def by_command(place: Place) -> str:
    """What the command says of a job that it refuses."""
    command = [sys.executable, str(ROOT / "jobs" / "embed_corpus.py"), "--config", str(place.write_config("second"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


@pytest.mark.slow
def test_the_second_job_is_refused_and_a_killed_one_is_followed_at_once(place: Place, tmp_path: Path) -> None:
    def refused_by(process: subprocess.Popen[bytes]) -> str:
        told = rf"is held by run \S+ of the corpus 'books', process {process.pid} of \w+ on \S+, since 20.* UTC; wait"
        with pytest.raises(SinkError, match=told):
            place.run()
        report = json.loads((tmp_path / "second.json").read_text())
        assert report["status"] == "failed" and re.search(told, report["error"])
        return told

    with place.paused("first") as process:
        told = refused_by(process)
        if "path" in place.sink and place.sink["type"] == "qdrant":
            # Nobody can look into the folder while it is open elsewhere.
            for look in (place.pipeline().plan, lambda: Searcher.open("c", path=place.sink["path"])):
                with pytest.raises(SinkError, match=told):
                    look()
            # Behind the log's lines of what was done until then.
            *log, line = by_command(place).splitlines()
            assert re.fullmatch(rf"qdrant:\S+ {told} .*twice", line) and all(" INFO " in one for one in log)
        else:
            notice = place.pipeline().plan().notices[-1]
            assert re.search(rf"process {process.pid} .*; while that run goes on, this job is refused", notice)
        process.send_signal(signal.SIGKILL)
        with place.paused("third") as next_one:
            refused_by(next_one)
            (tmp_path / "go").touch()
            assert next_one.wait(SECONDS) == 0
    assert place.count() == COUNT
    assert place.pipeline().plan().notices == []
    assert place.run().rows["skipped"] == COUNT


def disk_lease(place: Place) -> DiskLease:
    record = ParquetRecord(lambda _: pa.schema([("id", pa.string())])) if place.sink["type"] == "parquet" else None
    store = DiskLease("here", place.sink["path"], record)
    store.prepare(rows.job())
    return store


def taken_over(place: Place, monkeypatch: pytest.MonkeyPatch) -> Holder:
    """Let another machine's run take the place while the next job embeds."""
    mine = Holder.of_this_process("run-9", "books")
    other = Holder.parse(mine.to_text().replace(json.dumps(mine.machine), '"another"'))
    assert other is not None
    real = Bm25.embed_arrow

    def overtaken(model: Bm25, some: Any) -> Any:
        disk_lease(place).write(other.to_text())
        return real(model, some)

    monkeypatch.setattr(Bm25, "embed_arrow", overtaken)
    return other


@pytest.mark.parametrize("place", ["parquet", "folder"], indirect=True)
def test_a_job_whose_place_was_taken_over_fails_and_settles_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = taken_over(place, monkeypatch)
    with pytest.raises(SinkError, match=r"was taken over by run run-9 .*this run stops, and what it wrote stays"):
        place.run("first")
    assert json.loads((tmp_path / "first.json").read_text())["status"] == "failed"
    assert Holder.parse(disk_lease(place).read() or "") == other
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    assert place.count() == COUNT


@pytest.mark.parametrize("place", ["parquet", "folder"], indirect=True)
@pytest.mark.parametrize(
    ("end", "raised", "told"),
    [(KeyboardInterrupt, KeyboardInterrupt, "^$"), (RuntimeError, TooManyErrorsError, "12 of 12 rows went to dead")],
)
def test_a_job_that_ends_badly_gives_its_place_back(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    end: type[BaseException],
    raised: type[BaseException],
    told: str,
) -> None:
    def ended(*_: Any) -> Any:
        assert disk_lease(place).read() is not None
        raise end

    monkeypatch.setattr(Bm25, "embed_arrow", ended)
    with pytest.raises(raised, match=told):
        place.run("first")
    assert not list((tmp_path / "out").rglob("*lease*"))


def test_a_server_that_keeps_no_metadata_takes_the_job_and_the_report_says_what_it_lacks(
    qdrant_server: QdrantTestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Collection, "remember", lambda *_: None)
    place = Place(tmp_path, {"type": "qdrant", "url": qdrant_server.url, "collection": "c"})
    report = place.run("first")
    assert report.rows["written"] == COUNT
    assert report.notices == [
        f"qdrant:{qdrant_server.url}/c keeps no record of who writes to it: a second job at once is not noticed there"
    ]
