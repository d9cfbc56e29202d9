"""What sinks and their writers hold open, and that nothing of it is left."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil
import pytest

from pipelines.sinks.factory import make_sink
from pipelines.sinks.qdrant.client import open_client
from pipelines.sinks.qdrant.writer import QdrantWriter
from tests.pipelines.sinks import qdrant_help as qdrant
from tests.pipelines.sinks import rows
from tests.pipelines.sinks.qdrant.conftest import ScriptedPoints
from tests.qdrant_server.process import QdrantTestServer
from tests.waiting import wait_until

FACTS = rows.job()


def connections(port: int) -> set[int]:
    """This process's open connections to a port, by their own ports."""
    return {
        found.laddr.port
        for found in psutil.Process().net_connections("tcp")
        if found.raddr and found.raddr.port == port and found.status == psutil.CONN_ESTABLISHED
    }


@pytest.mark.server
def test_a_sink_and_its_closed_writer_leave_no_connection_to_the_server(qdrant_server: QdrantTestServer) -> None:
    # Another spelling of 127.0.0.1, because qdrant-client keeps no connection to that one, as it does to all others.
    sink = make_sink(qdrant.config(url=qdrant_server.url.replace("127.0.0.1", "127.1")))
    others = connections(qdrant_server.port)
    assert sink.check(FACTS) == {"exists": False, "points": 0}
    sink.open(FACTS)
    assert sink.provenance() is None
    assert connections(qdrant_server.port) <= others
    writer = sink.connect()
    table = rows.table(FACTS, rows.documents(5))
    for _ in range(3):
        assert writer.write(table).written == 5
        assert rows.held(writer, table) == [True] * 5
    # One for points, and the client's for all else.
    assert len(connections(qdrant_server.port) - others) == 2
    for _ in range(2):
        writer.close()
        assert connections(qdrant_server.port) <= others
    assert sink.finish(completed=True)["points"] == 5
    assert connections(qdrant_server.port) <= others


def test_a_closed_writer_leaves_no_grpc_channel_and_no_thread(servicer: ScriptedPoints) -> None:
    config = qdrant.config(url="http://127.0.0.1:1", prefer_grpc=True, grpc_port=servicer.port)
    writer = QdrantWriter(open_client(config), config, FACTS, was_empty=True)
    before = set(threading.enumerate())
    assert writer.write(rows.table(FACTS, rows.documents(5))).written == 5
    assert connections(servicer.port)
    writer.close()
    wait_until(lambda: not connections(servicer.port))
    # The thread of the server's pool that answered stays.
    wait_until(lambda: not {one for one in set(threading.enumerate()) - before if "Pool" not in one.name})
    writer.close()


def test_a_closed_writer_leaves_the_folder_to_the_others(tmp_path: Path) -> None:
    sink = qdrant.opened(FACTS, path=str(tmp_path))
    first, second = sink.connect(), sink.connect()
    first.write(rows.table(FACTS, rows.documents(2)))
    for _ in range(2):
        first.close()
    assert second.write(rows.table(FACTS, rows.documents(2, first=2))).written == 2
    second.close()
    assert sink.finish(completed=True)["points"] == 4
    assert not [file.path for file in psutil.Process().open_files() if Path(file.path).is_relative_to(tmp_path)]
