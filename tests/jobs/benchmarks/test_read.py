"""The benchmark of reading, on a few rows."""

from __future__ import annotations

import os

import pyarrow as pa
import pytest

from benchmarks import read


def test_all_contestants_read_all_rows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # They are settings of the whole process.
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None)
    monkeypatch.setattr(pa, "set_cpu_count", lambda _: None)
    monkeypatch.setattr(read, "stdlib_texts", lambda: ["one", 'two\n"quoted", lines'])
    read.read_tables(rows=1000, repeats=1)
    printed = capsys.readouterr().out
    assert "read, 1,000 rows" in printed
    assert all(name in printed for name in (read.OURS, read.ROWS, read.ARROW, read.SCAN, "jsonl"))
