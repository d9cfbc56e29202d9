"""The lease of a folder in a bucket: what it leaves, and how long a store that is away holds up a run that ends."""

from __future__ import annotations

import time

import pytest

from pipelines.sinks.lease.lease import RunLeases, Timing, held_notices
from pipelines.sinks.parquet.config import ParquetSinkConfig
from pipelines.sinks.parquet.sink import ParquetSink
from pipelines.stores import store
from tests.object_storage.server import Fault, S3TestServer
from tests.pipelines.sinks import rows

FACTS = rows.job()
STILL = Timing(renew=3600, stale=3600, look=0.02, settle=0.05)


def sink_in(s3: S3TestServer) -> ParquetSink:
    return ParquetSink(ParquetSinkConfig(type="parquet", path=s3.place("out")))


def test_a_lease_that_is_given_back_leaves_a_record_that_says_so_and_costs_one_request(s3: S3TestServer) -> None:
    with s3.counted() as counts, RunLeases([sink_in(s3)], "run-1", "library", STILL) as held:
        assert held.take(FACTS) == []
        assert held_notices([sink_in(s3)]) != []
    assert counts["PutObject"] == 2 and not counts["DeleteObject"] and sum(counts.values()) <= 11
    assert s3.keys() == ["out/_lease.parquet"] and b"given_back" in s3.get("out/_lease.parquet")
    assert held_notices([sink_in(s3)]) == []
    with RunLeases([sink_in(s3)], "run-2", "library", STILL) as held:
        held.look()
        assert held.take(FACTS) == []


def test_a_store_that_is_away_holds_up_the_end_of_a_run_for_seconds(
    s3: S3TestServer, one_attempt: None, caplog: pytest.LogCaptureFixture
) -> None:
    sink = sink_in(s3)
    with RunLeases([sink], "run-1", "library", STILL) as held:
        held.take(FACTS)
        s3.faults.append(Fault("."))
        began = time.monotonic()
        assert held.lost(sink) is None
    # Of a store, far more is awaited otherwise.
    assert time.monotonic() - began < store.RETRY_SECONDS / 2
    assert "could not be given back" in caplog.text and "the store answered 503" in caplog.text
