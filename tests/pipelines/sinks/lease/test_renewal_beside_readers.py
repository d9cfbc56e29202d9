"""Who reads all Parquet files of a folder while its lease is renewed finds none that is half written."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pyarrow as pa

from pipelines.sinks.base import JobFacts
from pipelines.sinks.lease.file import DiskLease
from pipelines.sinks.lease.record import PARQUET_LEASE, ParquetRecord


def test_a_renewal_puts_no_other_parquet_file_into_the_folder(tmp_path: Path) -> None:
    lease = DiskLease("out", str(tmp_path), ParquetRecord(lambda job: pa.schema([("id", pa.string())])))
    lease.prepare(JobFacts(fingerprint="f", corpus="c", models={}, vectors={}))
    assert lease.create("first")
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            seen.update(entry.name for entry in os.scandir(tmp_path))

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(100):
        lease.write(f"renewal {number}")
    over.set()
    reader.join()
    assert {name for name in seen if name.endswith(".parquet")} == {PARQUET_LEASE}
    assert lease.read() == "renewal 99"
    lease.remove()
    assert list(tmp_path.iterdir()) == []
