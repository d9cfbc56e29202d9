"""The folder of an embedded engine: one process holds it, however many write."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from qdrant_client import QdrantClient

from pipelines.errors import SinkError
from pipelines.sinks.factory import make_sink
from pipelines.sinks.qdrant.client import open_client, open_folder
from pipelines.sinks.qdrant.folder import FolderSink
from pipelines.sinks.qdrant.folder_engine import Engine
from pipelines.sinks.qdrant.folder_host import ask
from pipelines.sinks.qdrant.sink import QdrantSink
from tests.pipelines.sinks import qdrant_help as qdrant
from tests.pipelines.sinks import rows

FACTS = rows.job()
ROOT = Path(__file__).resolve().parents[4]

# Opens a folder as a sink, writes twenty documents at a time, and says each time that they are acknowledged.
WRITER = """
import sys
from tests.pipelines.sinks import qdrant_help as qdrant, rows
facts = rows.job()
sink = qdrant.opened(facts, path=sys.argv[1], engine="local")
writer = sink.connect()
for first in range(0, 100_000, 20):
    writer.write(rows.table(facts, rows.documents(20, first=first)))
    print(first + 20, flush=True)
"""


@pytest.mark.slow
def test_points_acknowledged_before_a_kill_are_there_for_the_next_run(tmp_path: Path) -> None:
    acknowledged = 0
    command = [sys.executable, "-W", "ignore", "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        while acknowledged < 200:
            acknowledged = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    table = rows.table(FACTS, rows.documents(acknowledged))
    sink = qdrant.opened(FACTS, path=str(tmp_path))
    assert all(qdrant.held(sink, table))
    qdrant.write(sink, table)
    count = sink.finish(completed=True)["points"]
    assert acknowledged <= count <= acknowledged + 20


@pytest.mark.parametrize("engine", ["edge", "local"])
def test_a_folder_that_is_open_elsewhere_is_waited_for(tmp_path: Path, engine: Engine) -> None:
    other = open_folder(str(tmp_path), engine)
    with pytest.raises(SinkError, match=r"another process has this Qdrant folder open \(0\.3 s\); end the process"):
        open_folder(str(tmp_path), lock_seconds=0.3)
    threading.Timer(0.5, other.close).start()
    open_folder(str(tmp_path)).close()


def test_finish_gives_the_folder_free_and_leaves_plain_sqlite(tmp_path: Path) -> None:
    qdrant.run(FACTS, rows.table(FACTS, rows.documents(3)), path=str(tmp_path), engine="local")
    store = tmp_path / "collection" / qdrant.NAME / "storage.sqlite"
    connection = sqlite3.connect(store)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()
    assert [path.name for path in store.parent.iterdir()] == ["storage.sqlite"]
    client = QdrantClient(path=str(tmp_path))
    assert client.count(qdrant.NAME).count == 3
    client.close()


def test_two_collections_of_one_job_share_a_folder(tmp_path: Path) -> None:
    sinks = [make_sink(qdrant.config(path=str(tmp_path), collection=name)) for name in ("one", "two")]
    for sink in sinks:
        sink.open(FACTS)
    for count, sink in enumerate(sinks, 1):
        qdrant.write(sink, rows.table(FACTS, rows.documents(count)))
    assert [sink.finish(completed=True)["points"] for sink in sinks] == [1, 2]
    open_folder(str(tmp_path)).close()


def test_a_refused_folder_is_given_free(tmp_path: Path) -> None:
    qdrant.run(FACTS, path=str(tmp_path))
    with pytest.raises(SinkError, match="lacks the vector"):
        qdrant.opened(rows.job({"other": rows.DENSE}), path=str(tmp_path))
    open_folder(str(tmp_path)).close()


@pytest.mark.parametrize("step", ["open", "finish"])
def test_a_folder_is_given_free_where_a_signal_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    sink = make_sink(qdrant.config(path=str(tmp_path)))
    if step == "finish":
        sink.open(FACTS)
    with monkeypatch.context() as patched:
        patched.setattr(QdrantSink, step, interrupted)
        act = partial(sink.open, FACTS) if step == "open" else partial(sink.finish, completed=False)
        with pytest.raises(KeyboardInterrupt):
            act()
    qdrant.run(FACTS, rows.table(FACTS, rows.documents(3)), path=str(tmp_path))


def test_a_folder_refused_for_one_collection_stays_open_for_the_other(tmp_path: Path) -> None:
    qdrant.run(rows.job({"other": rows.DENSE}), path=str(tmp_path), collection="misfit")
    sink = qdrant.opened(FACTS, path=str(tmp_path))
    with pytest.raises(SinkError, match="lacks the vector"):
        qdrant.opened(FACTS, path=str(tmp_path), collection="misfit")
    assert qdrant.write(sink, rows.table(FACTS, rows.documents(2))).written == 2
    assert sink.finish(completed=True)["points"] == 2


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SinkError, match=r"file.* cannot be opened as a Qdrant folder"):
        qdrant.opened(FACTS, path=str(tmp_path / "file" / "store"))


# Opens folders as somebody who may not write there; root may write anywhere.
READER = """
import os, sys
import pipelines.sinks.qdrant.edge.client
from pipelines.errors import SinkError
from pipelines.sinks.qdrant.client import open_folder
if os.geteuid() == 0:
    os.setuid(65534)
for path in sys.argv[1:]:
    try:
        open_folder(path)
    except SinkError as error:
        print(error)
"""


def test_a_folder_that_is_read_only_says_what_to_do() -> None:
    # Not below pytest's own folder, which nobody else may enter.
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        folders = [Path(place) / engine for engine in ("edge", "local")]
        for folder in folders:
            qdrant.run(FACTS, rows.table(FACTS, rows.documents(3)), path=str(folder), engine=folder.name)
            folder.chmod(0o555)
        command = [sys.executable, "-W", "ignore", "-c", READER, *map(str, folders)]
        said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
        for folder, line in zip(folders, said, strict=True):
            assert f"{folder} cannot be opened" in line and "or copy it, and search the copy" in line
            copy = Path(place) / f"copy of {folder.name}"
            shutil.copytree(folder, copy)
            copy.chmod(0o755)
            folder.chmod(0o755)
            with closing(open_folder(str(copy))) as client:
                assert client.count(qdrant.NAME).count == 3


def test_the_client_for_searching_opens_the_folder_too(tmp_path: Path) -> None:
    qdrant.run(FACTS, rows.table(FACTS, rows.documents(3)), path=str(tmp_path))
    client = open_client(qdrant.config(path=str(tmp_path)))
    found = client.query_points(qdrant.NAME, query=rows.dense_of("text number 1").tolist(), using="dense", limit=1)
    client.close()
    assert found.points[0].payload and found.points[0].payload["document_id"] == "d1"


@pytest.fixture
def ray_sink(tmp_path: Path, ray_local: None) -> FolderSink:
    sink = qdrant.opened(FACTS, path=str(tmp_path))
    assert isinstance(sink, FolderSink)
    return sink


@pytest.mark.ray
def test_ray_workers_write_through_one_host(ray_sink: FolderSink) -> None:
    import ray

    def work(sink: FolderSink, table: pa.Table) -> tuple[int, list[bool]]:
        writer = sink.connect()
        return writer.write(table).written, rows.held(writer, table)

    remote: Any = ray.remote(work).remote
    parts = [rows.table(FACTS, rows.documents(20, first=first)) for first in (0, 10, 40)]
    assert ray.get([remote(ray_sink, part) for part in parts]) == [(20, [True] * 20)] * 3
    with pytest.raises(SinkError, match="another process"):
        open_folder(ray_sink.path, lock_seconds=0.3)
    with pytest.raises(SinkError, match="lacks the vector 'other'") as caught:
        qdrant.opened(rows.job({"other": rows.DENSE}), path=ray_sink.path)
    assert "Traceback" not in str(caught.value)
    assert ray_sink.finish(completed=True) == {"collection": qdrant.NAME, "points": 50}
    client = open_folder(ray_sink.path)
    assert len(qdrant.points(client)) == 50
    client.close()


class BrokenHost:
    """A host whose error Ray cannot carry to the driver."""

    def check(self) -> None:
        class UnsendableError(Exception):
            def __reduce__(self) -> Any:
                raise TypeError("it stays here")

        raise UnsendableError("the disk is gone")

    def end(self) -> None:
        os._exit(1)


@pytest.mark.ray
def test_of_what_ray_says_of_a_hosts_failure_one_plain_line_is_left(ray_local: None) -> None:
    import ray

    for method, told in (("check", r"failed: .*UnsendableError: the disk is gone"), ("end", "is gone: The actor")):
        host: Any = ray.remote(BrokenHost).options(num_cpus=0).remote()
        with pytest.raises(SinkError, match=f"^the process that holds the Qdrant folder {told}") as caught:
            ask(host, method)
        assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.ray
def test_a_host_that_is_killed_comes_back_and_nothing_is_lost(ray_sink: FolderSink) -> None:
    import ray

    writer = ray_sink.connect()
    writer.write(rows.table(FACTS, rows.documents(30)))
    pid = ray.get(ray_sink._host.pid.remote())
    assert pid != os.getpid()
    os.kill(pid, signal.SIGKILL)
    writer.write(rows.table(FACTS, rows.documents(30, first=20)))
    assert ray.get(ray_sink._host.pid.remote()) != pid
    assert ray_sink.finish(completed=True)["points"] == 50
