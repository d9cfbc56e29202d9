"""A renewal that hangs until its run is over leaves no record behind."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from pipelines.sinks.lease import lease as lease_module
from pipelines.sinks.lease.file import DiskLease
from pipelines.sinks.lease.holder import Holder
from pipelines.sinks.lease.lease import Lease, Timing
from pipelines.sinks.lease.record import LEASE
from tests.pipelines.sinks import rows
from tests.waiting import wait_until


class HangingDisk(DiskLease):
    """A disk without locks, which does not answer the thread that renews until it is let."""

    def __init__(self, folder: Path) -> None:
        super().__init__("disk", str(folder))
        self.asked, self.let = threading.Event(), threading.Event()

    def alone(self) -> AbstractContextManager[None]:
        return nullcontext()

    def read(self) -> str | None:
        text = super().read()
        if threading.current_thread().name == "lease":
            self.asked.set()
            assert self.let.wait(60)
        return text


def test_a_renewal_that_gets_its_answer_after_the_place_was_given_back_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "JOIN_SECONDS", 0.05)
    store = HangingDisk(tmp_path)
    lease = Lease(store, Holder.of_this_process("run", "corpus"), Timing(renew=0.02, settle=0.01))
    lease.take(rows.job())
    assert store.asked.wait(60)
    lease.give_back()
    assert not (tmp_path / LEASE).exists()
    renewer = lease._renewer
    store.let.set()
    wait_until(lambda: renewer is not None and not renewer.is_alive())
    assert not (tmp_path / LEASE).exists() and lease.lost is None
