"""What is written while a run goes on does not come after what is written when it is stopped."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipelines.run.report import file as report_file
from pipelines.run.report.file import RunningReport
from pipelines.run.report.report import RunReport


class SlowStore(MemoryFileSystem):  # type: ignore[misc]
    """A store that takes a file when it is let."""

    protocol = "slowstore"
    asked = threading.Event()
    let = threading.Event()

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode == "wb":
            self.asked.set()
            assert self.let.wait(60)
        return super()._open(path, mode, **options)


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where a report in the slow store is written at once."""
    monkeypatch.setattr(report_file, "SECONDS_BETWEEN_SAVES_IN_STORES", 0.0)
    fsspec.register_implementation("slowstore", SlowStore, clobber=True)
    SlowStore.asked.clear()
    SlowStore.let.clear()
    yield f"slowstore://reports-{uuid.uuid4().hex}/run.json"
    SlowStore.let.set()


def test_what_is_on_its_way_to_a_store_is_waited_for_and_nothing_follows_it(url: str) -> None:
    with RunningReport(url) as file:
        assert file.save({"status": "running"}) is None
        assert SlowStore.asked.wait(60)
        stopping = threading.Thread(target=file.stop, args=(60,))
        stopping.start()
        stopping.join(0.2)
        assert stopping.is_alive()
        SlowStore.let.set()
        stopping.join(60)
        with fsspec.open(url) as written:
            assert json.load(written) == {"status": "running"}
        report_file.save(url, {"status": "interrupted"})
        for _ in range(3):
            file.save({"status": "running"})
    with fsspec.open(url) as written:
        assert json.load(written) == {"status": "interrupted"}


def test_a_store_that_hangs_is_waited_for_no_longer_than_said(url: str) -> None:
    with RunningReport(url) as file:
        file.save({"status": "running"})
        assert SlowStore.asked.wait(60)
        file.stop(0.05)
        SlowStore.let.set()


def test_a_disk_gets_no_report_of_a_run_that_goes_on_once_it_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with RunningReport(str(path)) as file:
        file.save({"status": "running"})
        file.stop(1)
        report_file.save(str(path), {"status": "interrupted"})
        file.save({"status": "running"})
    assert json.loads(path.read_text()) == {"status": "interrupted"}


def test_a_stages_figures_are_whole_before_another_thread_can_copy_them() -> None:
    shown: list[Any] = []

    class Watched(RunReport):
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "stages":
                shown.append(deepcopy(value))

    report = Watched("run", "corpus", models={"dense": {}})
    report.take_stages({"dense": {"rows": 2.0, "tokens": 6.0, "padded_tokens": 8.0}})
    assert shown[-1] == report.stages and report.stages["dense"]["padding_waste"] == 0.25
