"""Whole jobs whose source, sink, dead letters and report are in a bucket of an S3 server."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import EmbeddingPipeline
from pipelines.run.report.file import SECONDS_BETWEEN_SAVES_IN_STORES
from pipelines.sinks.lease.lease import Timing
from pipelines.sinks.lease.record import PARQUET_LEASE
from tests.object_storage.jobs import BucketJob, documents, ids, lines
from tests.object_storage.server import KEY, SECRET, Fault, S3TestServer
from tests.waiting import SECONDS, wait_until


def parquet_bytes(rows: list[dict[str, Any]], **options: Any) -> bytes:
    stream = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), stream, **options)
    data: bytes = stream.getvalue().to_pybytes()
    return data


def fill(s3: S3TestServer) -> list[str]:
    """Put documents of all kinds below docs/; gives their ids."""
    plain, packed, columns = documents(50, "a"), documents(50, "b"), documents(60, "c")
    s3.put("docs/a.jsonl", lines(plain))
    s3.put("docs/deep/er/b.jsonl.gz", gzip.compress(lines(packed).encode()))
    s3.put("docs/year=2024/c d.parquet", parquet_bytes(columns, row_group_size=20))
    s3.put("docs/note.txt", "a text that is one document")
    s3.put("docs/_hidden.jsonl", lines(documents(3, "hidden")))
    s3.put("docs/picture.bin", b"\0")
    return sorted([*ids(plain), *ids(packed), *ids(columns), "note.txt"])


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.slow])])
def test_a_job_has_all_its_places_in_a_bucket(
    s3: S3TestServer, tmp_path: Path, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = fill(s3)
    s3.put("docs/bad.jsonl", '{"id": "bad", "text": null}\n')
    job = BucketJob(s3, tmp_path)
    if engine == "local":
        code, output = job.run()
    else:
        # Workers are as patient as the driver.
        with s3.broken(Fault("Put.*/out/part-", times=4), Fault("Get.*/docs/", times=4)):
            child = job.start("compute.engine=ray")
            output, _ = child.communicate(timeout=SECONDS)
        code = child.returncode
    assert code == 3, output
    assert job.documents() == expected
    assert all(row["bm25"]["indices"] for row in job.rows())
    assert job.dead() == {"bad.jsonl:1": "text is null"} and f"{s3.place('reports/dead_letters')}:" in output
    report = job.report
    assert report["status"] == "complete" and report["engine"] == engine
    assert report["rows"]["written"] == len(expected) and report["dead_letters"] == s3.place("reports/dead_letters")
    assert "out/_SUCCESS" in s3.keys("out/") and "out/_manifest.json" not in s3.keys("out/")
    # A store needs no folders, and nothing is written that is not asked for.
    assert not [request for request in s3.requests if request.endswith("/") and request.startswith("Put")]
    assert SECRET not in output + json.dumps(report) + caplog.text


def test_a_run_that_is_killed_is_completed_by_the_next_and_nothing_is_there_twice(
    s3: S3TestServer, tmp_path: Path
) -> None:
    rows = documents(2000)
    s3.put("docs/a.jsonl", lines(rows))
    job = BucketJob(s3, tmp_path)
    # The bucket takes no more than so many files while the first run lives.
    with s3.broken(Fault("Put.*/out/part-", after=40)):
        child = job.start()
        wait_until(lambda: len(s3.keys("out/part-")) >= 20)
        child.kill()
        child.communicate()
    assert "out/_SUCCESS" not in s3.keys("out/")
    before = len(s3.keys("out/part-"))
    assert 20 <= before <= 40
    assert job.report["status"] == "running"
    code, output = job.run()
    assert code == 0, output
    assert job.documents() == ids(rows) and "out/_SUCCESS" in s3.keys("out/")
    found = job.report["rows"]
    assert (found["skipped"], found["skipped"] + found["written"]) == (before * 20, len(rows))


def test_a_file_costs_one_request_to_write_and_few_to_find_again(s3: S3TestServer, tmp_path: Path) -> None:
    s3.put("docs/a.jsonl", lines(documents(600)))
    job = BucketJob(s3, tmp_path)
    began = time.monotonic()
    with s3.counted() as first:
        assert job.run()[0] == 0
    seconds = time.monotonic() - began
    renewals = 1 + seconds // Timing().renew
    lease = sum(request.startswith("PutObject") and request.endswith(PARQUET_LEASE) for request in s3.requests)
    files = len(s3.keys("out/part-"))
    assert files == 30
    # The lease: taken, given back, and renewed as time passes.
    assert 2 <= lease <= 2 + renewals
    # The report twice, and as time passes; its page, _SUCCESS.
    reports = sum(request.startswith("PutObject") and "run.json" in request for request in s3.requests)
    assert 2 <= reports <= 2 + seconds // SECONDS_BETWEEN_SAVES_IN_STORES
    assert first["PutObject"] == files + reports + 2 + lease and not first["CreateMultipartUpload"]
    assert not first["DeleteObject"]
    with s3.counted() as again:
        assert job.run()[0] == 0
    assert again["PutObject"] < 12 and again["List"] < 15
    # Its footer for the check, its footer and its columns for the index: two openings.
    assert again["HeadObject"] < 2 * files + 30 and again["GetObject"] < 4 * files + 10
    assert sum(first.values()) < 7 * files + 50


def test_what_is_new_is_added_and_what_changed_replaces_the_old(s3: S3TestServer, tmp_path: Path) -> None:
    rows = documents(50)
    s3.put("docs/a.jsonl", lines(rows))
    job = BucketJob(s3, tmp_path)
    assert job.run()[0] == 0
    rows[7]["text"] = "other words"
    s3.put("docs/a.jsonl", lines([*rows, *documents(10, "new")]))
    assert job.run()[0] == 0
    assert job.documents() == ids([*rows, *documents(10, "new")])
    assert {row["document_id"]: row["text"] for row in job.rows()}["d0007"] == "other words"
    assert job.report["rows"]["skipped"] == 49


def test_a_file_that_is_no_report_is_not_replaced_by_one(s3: S3TestServer, tmp_path: Path) -> None:
    s3.put("docs/a.jsonl", lines(documents(1)))
    s3.put("reports/run.json", "someone's notes")
    job = BucketJob(s3, tmp_path)
    code, output = job.run()
    assert code == 2 and f"report: {s3.place('reports/run.json')} is there and is no run's report" in output
    assert s3.get("reports/run.json") == b"someone's notes"


def test_a_job_does_not_read_what_it_writes_beside_its_source(s3: S3TestServer, tmp_path: Path) -> None:
    s3.put("a.jsonl", lines(documents(5)))
    job = BucketJob(s3, tmp_path, extra={"source": {"path": s3.place(""), "id": "id"}})
    for _ in range(2):
        code, output = job.run()
        assert code == 0, output
    assert job.documents() == ids(documents(5))
    assert "below source.path but written by this job" in " ".join(job.report["notices"])
    # The plan looks, and changes nothing.
    with s3.counted() as counts:
        plan = EmbeddingPipeline.from_config(job.config()).plan()
    assert plan.sinks[0]["points"] == 5 and not counts["PutObject"] + counts["DeleteObject"]


def test_credentials_are_taken_from_a_profile(s3: S3TestServer, tmp_path: Path) -> None:
    s3.put("docs/a.jsonl", lines(documents(5)))
    (tmp_path / "credentials").write_text(f"[nightly]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {"AWS_PROFILE": "nightly", "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}
    child = BucketJob(s3, tmp_path).start(environment={**environment, "AWS_ENDPOINT_URL": s3.url})
    output, _ = child.communicate(timeout=SECONDS)
    assert child.returncode == 0, output
