"""Leases: who holds a place, who may take it over and when, and who must stop."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.dataset as ds
import pytest

from pipelines.config.source import SourceConfig
from pipelines.errors import SinkError
from pipelines.sinks.base import LeaseStore, Sink
from pipelines.sinks.factory import make_sink
from pipelines.sinks.lease.file import DiskLease
from pipelines.sinks.lease.holder import Holder, process_started
from pipelines.sinks.lease.lease import RunLeases, Timing, held_notices
from pipelines.sinks.lease.record import LEASE, PARQUET_LEASE
from pipelines.sinks.parquet.config import ParquetSinkConfig
from pipelines.sinks.parquet.sink import ParquetSink
from pipelines.sinks.qdrant.client import open_folder
from pipelines.sources import plan_source
from tests.pipelines.sinks import qdrant_help as qdrant
from tests.pipelines.sinks import rows
from tests.qdrant_server import QdrantTestServer
from tests.waiting import wait_until

FACTS = rows.job()
QUICK = Timing(renew=0.02, stale=0.4, look=0.02, settle=0.1)
# Nobody renews by itself, and a record of another machine is watched for as long as a test may take.
STILL = Timing(renew=3600, stale=3600, look=0.02, settle=0.1)
# A record of another machine is looked at for a moment before the engine starts, and then for as long as that.
WATCHED = Timing(renew=0.02, stale=3600, look=0.02, settle=0.1)
PLACES = ["disk", "memory", "folder", pytest.param("server", marks=pytest.mark.server)]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Makes a sink, again and again of one place."""
    kind: str = request.param
    if kind == "server":
        server: QdrantTestServer = request.getfixturevalue("qdrant_server")
        return lambda: make_sink(qdrant.config(url=server.url))
    if kind == "folder":
        return lambda: make_sink(qdrant.config(path=str(tmp_path / "store")))
    path = str(tmp_path / "out") if kind == "disk" else f"memory://{tmp_path}"
    return lambda: ParquetSink(ParquetSinkConfig(type="parquet", path=path))


EVERYWHERE = pytest.mark.parametrize("place", PLACES, indirect=True)


def leases(*sinks: Sink, timing: Timing = QUICK, run: str = "run-1") -> RunLeases:
    return RunLeases(sinks, run, "library", timing)


@contextmanager
def holding(sink: Sink, timing: Timing = QUICK, run: str = "run-1") -> Iterator[RunLeases]:
    with leases(sink, timing=timing, run=run) as held:
        assert held.take(FACTS) == []
        yield held


def put(sink: Sink, holder: Holder | str) -> LeaseStore:
    """Leave a record in a place, as another process would."""
    store = sink.lease_store()
    store.prepare(FACTS)
    store.write(holder if isinstance(holder, str) else holder.to_text())
    return store


def stranger(**changes: Any) -> Holder:
    """A run of another machine."""
    mine = Holder.of_this_process("run-0", "library")
    return replace(mine, **{"machine": "another", "host": "elsewhere", "pid": 17, "user": "ada", **changes})


def recorded(sink: Sink) -> Holder | None:
    return Holder.parse(sink.lease_store().read() or "")


@EVERYWHERE
def test_a_place_that_is_held_is_refused_until_it_is_given_back(place: Any) -> None:
    who = rf"is held by run run-1 of the corpus 'library', process {os.getpid()} of \w+ on \S+, since 20.* UTC; wait"
    with holding(place()):
        for step in (RunLeases.look, lambda second: second.take(FACTS)):
            with leases(place(), run="run-2") as second, pytest.raises(SinkError, match=who):
                step(second)
        (notice,) = held_notices([place()])
        assert "is held by run run-1 of the corpus 'library'" in notice
        found = recorded(place())
        assert found is not None and found.run_id == "run-1"
    assert recorded(place()) is None
    assert held_notices([place()]) == []
    with holding(place(), run="run-2"):
        pass


@EVERYWHERE
def test_a_record_of_another_machine_is_taken_over_once_it_was_watched_for_long_enough(
    place: Any, caplog: pytest.LogCaptureFixture
) -> None:
    put(place(), stranger())
    with caplog.at_level("INFO", "fleetembed"), holding(place()):
        found = recorded(place())
        assert found is not None and found.run_id == "run-1"
    assert "was held by run run-0 of the corpus 'library', process 17 of ada on elsewhere" in caplog.text
    assert "whether it still is shows within 0.4 s" in caplog.text
    assert "is taken over: its holder showed no sign of life for 0.4" in caplog.text


@EVERYWHERE
def test_a_record_of_another_machine_that_is_renewed_is_respected(place: Any) -> None:
    other = stranger()
    store, renewed = put(place(), other), other.renewal()
    with leases(place(), timing=WATCHED) as second:
        second.look()
        store.write(renewed.to_text())
        with pytest.raises(SinkError, match=r"is held by run run-0 .* on elsewhere"):
            second.take(FACTS)
    assert recorded(place()) == renewed


@EVERYWHERE
def test_a_run_of_another_machine_that_goes_on_is_seen_by_the_first_look(place: Any) -> None:
    other = stranger()
    store = put(place(), other)
    over = threading.Event()

    def renew() -> None:
        renewed = other
        while not over.wait(0.05):
            renewed = renewed.renewal()
            store.write(renewed.to_text())

    renewing = threading.Thread(target=renew)
    renewing.start()
    try:
        patient = Timing(renew=60, stale=3600, look=0.02, settle=0.1)
        with leases(place(), timing=patient) as second, pytest.raises(SinkError, match=r"is held by run run-0"):
            second.look()
    finally:
        over.set()
        renewing.join()


@pytest.mark.parametrize("torn", [b"", b"PAR1 and then the power was cut"])
def test_a_record_of_a_parquet_folder_that_says_nothing_is_watched_for_a_renewal_and_no_longer(
    tmp_path: Path, torn: bytes
) -> None:
    (tmp_path / PARQUET_LEASE).write_bytes(torn)
    sink = ParquetSink(ParquetSinkConfig(type="parquet", path=str(tmp_path)))
    began = time.monotonic()
    with leases(sink, timing=Timing(renew=0.4, stale=3600, look=0.02, settle=0.1)) as held:
        assert held.take(FACTS) == []
        assert time.monotonic() - began >= 0.6
    assert not any(tmp_path.iterdir())


@EVERYWHERE
def test_the_record_is_renewed_while_it_is_held(place: Any) -> None:
    def renewals() -> int:
        found = recorded(place())
        return found.renewed if found is not None else -1

    with holding(place()):
        wait_until(lambda: renewals() >= 3)


@EVERYWHERE
def test_a_run_whose_place_was_taken_over_must_stop_and_leaves_the_other_its_record(place: Any) -> None:
    sink = place()
    with holding(sink) as held:
        taker = stranger(run_id="run-9")

        def look() -> None:
            # A renewal that was under way may write once more behind it.
            put(place(), taker)
            held.refuse_lost()

        with pytest.raises(SinkError, match=r"was taken over by run run-9 .* on elsewhere.*this run stops"):
            wait_until(look)
        assert str(held.lost(sink)).startswith(sink.lease_store().place)
    assert recorded(place()) == taker


@pytest.mark.parametrize("place", ["disk"], indirect=True)
def test_of_this_machine_the_process_decides(place: Any) -> None:
    mine = Holder.of_this_process("run-0", "library")
    parent = os.getppid()
    alive = replace(mine, pid=parent, process_started=process_started(parent) or "")
    put(place(), alive)
    with leases(place(), timing=STILL) as second, pytest.raises(SinkError, match=f"process {parent} "):
        second.take(FACTS)
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        started = process_started(child.pid)
        # Over, and not yet asked for its exit code.
        wait_until(lambda: process_started(child.pid) is None)
        gone = [
            replace(alive, process_started="1"),
            replace(mine, pid=child.pid, process_started=started or ""),
            # A run of this process that ended without giving back.
            mine,
        ]
        for holder in gone:
            put(place(), holder)
            with holding(place(), STILL):
                pass


def test_where_the_system_tells_nothing_of_a_process_its_being_there_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = replace(Holder.of_this_process("run-0", "library"), pid=os.getppid())
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()

    def hidden(*_: Any, **__: Any) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", hidden)
    monkeypatch.setattr(Path, "readlink", hidden)
    assert parent.is_alive()
    assert not replace(parent, pid=child.pid).is_alive()
    assert Holder.of_this_process("run-1", "library").machine == socket.gethostname()


@pytest.mark.parametrize("place", ["disk"], indirect=True)
@pytest.mark.parametrize("text", ["", '{"run_id"', "[]", '{"pid": 3}', "\x00\x00"])
def test_a_record_that_cannot_be_read_is_watched_like_another_machines(place: Any, text: str) -> None:
    put(place(), text)
    with leases(place(), timing=WATCHED) as second:
        second.look()
        put(place(), stranger())
        with pytest.raises(SinkError, match="is held by run run-0"):
            second.take(FACTS)
    put(place(), text)
    with holding(place()):
        pass


@pytest.mark.parametrize("place", ["disk", "memory"], indirect=True)
@pytest.mark.parametrize("before", ["free", "left behind"])
def test_of_many_at_once_one_wins(place: Any, before: str) -> None:
    count = 6
    won_once = False
    for _ in range(8):
        if before == "left behind":
            put(place(), replace(Holder.of_this_process("run-0", "library"), process_started="1"))
        with ExitStack() as stack:
            runs = [stack.enter_context(leases(place(), timing=STILL, run=f"run-{n}")) for n in range(count)]
            together = threading.Barrier(count)

            def take(run: RunLeases, together: threading.Barrier = together) -> bool:
                together.wait()
                try:
                    run.take(FACTS)
                except SinkError as error:
                    assert "is held by" in str(error)
                    return False
                return True

            with ThreadPoolExecutor(count) as pool:
                winners = [run for run, won in zip(runs, pool.map(take, runs), strict=True) if won]

            def holders(winners: list[RunLeases] = winners) -> int:
                return [run.lost(place()) for run in winners].count(None)

            if isinstance(place().lease_store(), DiskLease):
                assert (len(winners), holders()) == (1, 1)
            # Without locks, two may believe so until the next renewal; on a machine that stands still meanwhile, both
            # may see the other's record then.
            wait_until(lambda: holders() <= 1)
            won_once = won_once or holders() == 1
    assert won_once


def test_the_file_is_created_once_and_its_folder_locked_for_one(tmp_path: Path) -> None:
    one, other = (DiskLease("here", str(tmp_path)) for _ in range(2))
    assert one.create("first")
    assert not other.create("second")
    assert other.read() == "first"
    entered = threading.Event()

    def enter() -> None:
        with other.alone():
            entered.set()

    with one.alone():
        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.2)
    thread.join(60)
    assert entered.is_set()
    (tmp_path / f".{LEASE}.half").touch()
    one.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_cannot_be_written_whole_is_not_there(tmp_path: Path) -> None:
    store = DiskLease("here", str(tmp_path))
    with pytest.raises(SinkError, match=r"here cannot be made ready: _lease\.json in it.* cannot be used"):
        store.create("\udc80")
    assert store.read() is None


class Failing:
    """A record in memory whose store fails now and then."""

    place, exclusive = "somewhere", False

    def __init__(self, *, keeps: bool = True) -> None:
        self.text: str | None = None
        self.failures = 0
        self.keeps = keeps

    def prepare(self, job: Any) -> None: ...

    def read(self) -> str | None:
        if self.failures:
            self.failures -= 1
            raise OSError("SlowDown")
        return self.text

    def create(self, text: str) -> bool:
        self.write(text)
        return True

    def write(self, text: str) -> None:
        self.text = text if self.keeps else None

    def remove(self) -> None:
        self.text = None

    def hurry(self) -> None: ...

    @contextmanager
    def alone(self) -> Iterator[None]:
        yield

    def close(self) -> None: ...


class Anywhere:
    """As much of a sink as has a lease."""

    name = "anywhere"

    def __init__(self, store: LeaseStore) -> None:
        self.store = store

    def lease_store(self) -> LeaseStore:
        return self.store


def test_a_store_that_fails_for_a_while_costs_no_lease_and_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    store = Failing()
    sink: Any = Anywhere(store)
    with holding(sink) as held:
        store.failures = 5
        wait_until(lambda: not store.failures)
        before = Holder.parse(store.text or "")
        assert before is not None
        wait_until(lambda: (Holder.parse(store.text or "") or before).renewed > before.renewed)
        held.refuse_lost()
        # Deleted by somebody, it is written anew.
        store.text = None
        wait_until(lambda: store.text)
    assert store.text is None
    assert caplog.text.count("the lease of somewhere cannot be renewed, which is tried on: SlowDown") == 1


def test_a_lease_that_cannot_be_given_back_is_told_of_and_frees_the_next_run_of_this_process(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Failing()
    sink: Any = Anywhere(store)
    with holding(sink, STILL):
        store.failures = 1
    assert "the lease of somewhere could not be given back: SlowDown" in caplog.text
    assert store.text
    with holding(sink, STILL, "run-2"):
        pass


def test_a_place_that_keeps_no_record_is_told_of_and_written_to() -> None:
    sink: Any = Anywhere(Failing(keeps=False))
    with leases(sink) as held:
        (notice,) = held.take(FACTS)
        assert notice.startswith("somewhere keeps no record of who writes to it")
        assert held.take(FACTS) == []
        held.refuse_lost()
        assert held.lost(sink) is None


def test_a_run_that_is_refused_one_place_gives_the_others_back(tmp_path: Path) -> None:
    free, held = (ParquetSink(ParquetSinkConfig(type="parquet", path=str(tmp_path / name))) for name in ("a", "b"))
    with holding(held, STILL):
        with leases(free, held, run="run-2") as second, pytest.raises(SinkError, match="/b is held by run run-1"):
            second.take(FACTS)
        assert recorded(free) is None
        assert recorded(held) is not None


def test_two_collections_of_one_folder_have_one_lease(tmp_path: Path) -> None:
    sinks = [make_sink(qdrant.config(path=str(tmp_path), collection=name)) for name in ("one", "two")]
    with leases(*sinks) as held:
        assert held.take(FACTS) == []
        assert [held.lost(sink) for sink in sinks] == [None, None]
        for sink in sinks:
            sink.open(FACTS)
            sink.finish(completed=True)
        assert recorded(sinks[0]) == recorded(sinks[1]) is not None
    client = open_folder(str(tmp_path))
    assert len(client.get_collections().collections) == 2
    client.close()


def test_readers_of_parquet_do_not_trip_over_the_record(tmp_path: Path) -> None:
    sink = ParquetSink(ParquetSinkConfig(type="parquet", path=str(tmp_path)))
    with holding(sink):
        sink.open(FACTS)
        sink.connect().write(rows.table(FACTS, rows.documents(3)))
        sink.finish(completed=True)
        assert (tmp_path / PARQUET_LEASE).exists()
        assert ds.dataset(tmp_path).count_rows() == 3
        assert len(pd.read_parquet(tmp_path)) == 3
        assert duckdb.read_parquet(str(tmp_path)).shape[0] == 3
        assert plan_source(SourceConfig(path=str(tmp_path), id="id")).files == 1
    assert {path.name for path in tmp_path.iterdir() if not path.match("part-*.parquet")} == {"_SUCCESS"}


def test_a_run_of_an_older_version_is_respected_and_what_it_left_taken_over(tmp_path: Path) -> None:
    sink = ParquetSink(ParquetSinkConfig(type="parquet", path=str(tmp_path)))
    older = DiskLease("older", str(tmp_path))
    with leases(sink, run="run-2") as second, RunLeases([], "run-1", "library"):
        alive = replace(Holder.of_this_process("run-1", "library"), pid=os.getppid(), process_started="")
        assert older.create(alive.to_text())
        with pytest.raises(SinkError, match="is held by run run-1 of the corpus 'library'"):
            second.take(FACTS)
        older.write(replace(alive, pid=2**22 + 1).to_text())
        assert second.take(FACTS) == []
        assert {path.name for path in tmp_path.iterdir()} == {PARQUET_LEASE}
        found = recorded(sink)
        assert found is not None and found.run_id == "run-2"
