"""A store that is busy, breaks connections, is away, or refuses: what is tried again, what is lost, what is said."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.errors import StoreError
from pipelines.filesystem import open_filesystem, write_file
from pipelines.run import watching
from pipelines.run.report import file as report_file
from pipelines.stores import store as store_module
from tests.object_storage.jobs import BucketJob, documents, ids, lines
from tests.object_storage.server import SECRET, Fault, S3TestServer
from tests.pipelines.sources.reading import read
from tests.waiting import SECONDS, wait_until

# Its parts are of ten megabytes.
LARGE = pa.py_buffer(bytes(range(256)) * (100 << 10))


@pytest.fixture
def job(s3: S3TestServer, tmp_path: Path, one_attempt: None) -> BucketJob:
    s3.put("docs/a.jsonl", lines(documents(100)))
    return BucketJob(s3, tmp_path)


@pytest.mark.parametrize(
    "faults",
    [
        [Fault("Put", times=2), Fault("List", times=2), Fault("Get", times=2), Fault("Head", times=2)],
        [Fault("Put.*/part-", 0, times=2), Fault("Get.*docs", 0, times=2), Fault("List", 500, "InternalError", 2)],
        # What was asked for happened, and only the answer was lost.
        [Fault("Put", 0, times=2, late=True)],
        [Fault("Get", 1, times=2)],
    ],
    ids=["throttled", "connections broken", "answers lost", "answers cut short"],
)
def test_what_passes_costs_no_row(job: BucketJob, faults: list[Fault]) -> None:
    with job.s3.broken(*faults):
        code, output = job.run()
    assert code == 0, output
    assert all(fault.met > fault.times for fault in faults)
    assert job.documents() == ids(documents(100)) and "out/_SUCCESS" in job.s3.keys("out/")
    again = any("Put.*/part-" in fault.pattern for fault in faults)
    assert job.report["stages"]["write parquet"]["retries"] == (2 if again else 0)


def test_a_deletion_whose_answer_is_lost_is_done(job: BucketJob) -> None:
    assert job.run()[0] == 0
    deletion = Fault("DeleteObject .*/_SUCCESS", 0, times=1, late=True)
    with job.s3.broken(deletion):
        code, output = job.run()
    assert code == 0 and deletion.met, output


def test_a_store_that_throttles_for_too_long_ends_the_job_and_the_next_goes_on(job: BucketJob) -> None:
    job.options = "?retry_seconds=1"
    with job.s3.broken(Fault("Put.*/part-", after=2)):
        code, output = job.run()
    assert code == 1
    message = f"{job.s3.place('out/part-')}"
    assert message in output and "the store answered 503 SlowDown to PutObject; run the job again" in output
    assert "what was written before stays" in output
    assert job.dead() == {} and len(job.rows()) == 40
    assert job.report["status"] == "failed" and "SlowDown" in job.report["error"]
    code, output = job.run()
    assert code == 0, output
    assert job.report["rows"]["skipped"] == 40 and job.documents() == ids(documents(100))


def test_a_store_that_is_busy_from_the_start_has_all_the_patience(
    job: BucketJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "FIRST_SECONDS", 0.2)
    busy = Fault(".", times=4)
    with job.s3.broken(busy):
        code, output = job.run()
    assert code == 0 and busy.met > busy.times, output
    assert job.documents() == ids(documents(100))


@pytest.mark.parametrize("pattern", ["Head.*run.json", "Put.*run.json"])
def test_a_report_whose_store_is_busy_for_too_long_is_no_fault_of_the_configuration(
    job: BucketJob, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    monkeypatch.setattr(report_file, "AT_THE_END", report_file.Patience(seconds=1))
    job.options = "?retry_seconds=1"
    with job.s3.broken(Fault(pattern)):
        code, output = job.run()
    assert code == 1 and f"{job.s3.place('reports/run.json')}: the store answered 503" in output


@pytest.mark.parametrize("fault", [Fault("Get.*docs/b", after=1), Fault("Get.*docs/b", 0, after=1)])
def test_a_source_that_throttles_for_too_long_makes_no_row_dead(job: BucketJob, fault: Fault) -> None:
    job.options = "?retry_seconds=1"
    job.s3.put("docs/b.jsonl", lines(documents(5, "b")))
    with job.s3.broken(fault):
        code, output = job.run()
    assert job.dead() == {}
    assert code == 1 and f"{job.s3.place('docs/b.jsonl')}: the store" in output


def test_an_upload_in_parts_that_breaks_is_made_again_and_no_half_file_is_seen(
    s3: S3TestServer, one_attempt: None
) -> None:
    filesystem, path = open_filesystem(s3.place("large"))
    breaks = [Fault("UploadPart", 0, times=1), Fault("CompleteMultipartUpload", 500, "InternalError", times=1)]
    with s3.broken(*breaks):
        write_file(filesystem, path, LARGE)
    assert s3.keys() == ["large"] and s3.get("large") == LARGE.to_pybytes()
    short, path = open_filesystem(s3.place("other?retry_seconds=0"))
    for pattern in ("UploadPart", "CompleteMultipartUpload"):
        with s3.broken(Fault(pattern, 500, "InternalError")), pytest.raises(StoreError, match="InternalError"):
            write_file(short, path, LARGE)
        assert s3.keys() == ["large"]


def test_a_busy_store_is_told_of_while_it_is_waited_for(
    s3: S3TestServer, one_attempt: None, caplog: pytest.LogCaptureFixture
) -> None:
    filesystem, path = open_filesystem(s3.place("x"))
    with s3.broken(Fault("Put", times=3)), caplog.at_level(logging.WARNING, "fleetembed"):
        write_file(filesystem, path, pa.py_buffer(b"x"))
    assert caplog.messages == [f"{s3.place('x')}: the store answered 503 SlowDown to PutObject; trying again"]


def test_a_file_that_is_denied_costs_its_own_rows_alone(job: BucketJob) -> None:
    job.s3.put("docs/b.jsonl", lines(documents(5, "b")))
    with job.s3.broken(Fault("(Get|Head)Object .*docs/b", 403, "AccessDenied")):
        code, output = job.run()
    assert code == 3, output
    (reason,) = job.dead().values()
    assert "file b.jsonl cannot be read" in reason and "the store denies access (403, HeadObject)" in reason
    assert job.documents() == ids(documents(100))


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [(404, "NoSuchKey", "is gone; run the job again"), (403, "AccessDenied", "cannot be read: ")],
)
def test_a_file_of_the_sink_that_cannot_be_read_is_not_called_damaged(
    job: BucketJob, status: int, code: str, words: str
) -> None:
    assert job.run()[0] == 0
    with job.s3.broken(Fault("Head.*/out/part-", status, code)):
        found, output = job.run()
    assert found == 1 and words in " ".join(output.split())
    assert "damaged" not in output and "delete" not in output


def denied(job: BucketJob, monkeypatch: pytest.MonkeyPatch) -> None:
    job.s3.faults.append(Fault("(List|Head|Get).*docs", 403, "AccessDenied"))


def denied_writes(job: BucketJob, monkeypatch: pytest.MonkeyPatch) -> None:
    job.s3.faults.append(Fault("Put.*/out/", 403, "AccessDenied"))


def wrong_key(job: BucketJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")


def no_key(job: BucketJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


def expired(job: BucketJob, monkeypatch: pytest.MonkeyPatch) -> None:
    job.s3.faults.append(Fault("(List|Put)", 400, "ExpiredToken"))


def no_bucket(job: BucketJob, monkeypatch: pytest.MonkeyPatch) -> None:
    job.extra["source"] = {"path": "s3://bucket-that-is-not-there/docs/"}


def no_bucket_to_write_to(job: BucketJob, monkeypatch: pytest.MonkeyPatch) -> None:
    job.extra["sink"] = {"type": "parquet", "path": "s3://bucket-that-is-not-there/out"}


def elsewhere(job: BucketJob, monkeypatch: pytest.MonkeyPatch) -> None:
    job.extra["source"] = {"path": job.s3.place("docs/?endpoint_override=127.0.0.1:9&scheme=http")}


def no_tls(job: BucketJob, monkeypatch: pytest.MonkeyPatch) -> None:
    job.extra["source"] = {"path": job.s3.place(f"docs/?scheme=https&endpoint_override={job.s3.url[7:]}")}


def unknown_option(job: BucketJob, monkeypatch: pytest.MonkeyPatch) -> None:
    job.extra["source"] = {"path": job.s3.place("docs/?regoin=eu-west-1")}


def report_elsewhere(job: BucketJob, monkeypatch: pytest.MonkeyPatch) -> None:
    job.extra["report"] = job.s3.place("run.json?endpoint_override=127.0.0.1:9&scheme=http")


KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


@pytest.mark.parametrize(
    ("wrong", "code", "place", "what", "advice"),
    [
        (denied, 1, "docs", "denies access (403, HeadObject)", KEYS),
        (denied_writes, 1, "out", "denies access (403, PutObject)", "the credentials lack the permission"),
        (wrong_key, 2, "reports/run.json", "denies access (403, HeadObject)", KEYS),
        (no_key, 2, "reports/run.json", "denies access (403, HeadObject)", KEYS),
        (expired, 1, "reports/run.json", "says that the credentials have expired", "renew the credentials"),
        (no_bucket, 1, "s3://bucket-that-is-not-there", "there is no such bucket", "check its name, the region"),
        (no_bucket_to_write_to, 1, "s3://bucket-that-is-not-there", "there is no such bucket", "check its name"),
        (elsewhere, 1, "docs", "cannot be reached", "check the endpoint (AWS_ENDPOINT_URL)"),
        (no_tls, 1, "docs", "cannot be reached with TLS", "write ?scheme=http"),
        (unknown_option, 2, "docs", "unknown option 'regoin'", "known are allow_bucket_creation"),
        (report_elsewhere, 1, "run.json", "cannot be reached", "check the endpoint"),
    ],
)
def test_a_store_that_cannot_be_used_is_told_of_with_place_reason_and_advice(
    job: BucketJob,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    wrong: Callable[[BucketJob, pytest.MonkeyPatch], None],
    code: int,
    place: str,
    what: str,
    advice: str,
) -> None:
    monkeypatch.setattr(store_module, "FIRST_SECONDS", 1.0)
    wrong(job, monkeypatch)
    began = time.monotonic()
    found, output = job.run()
    assert found == code, output
    assert time.monotonic() - began < 60
    assert (place if "://" in place else job.s3.place(place)) in output and what in output and advice in output
    assert "Traceback" not in output and SECRET not in output + caplog.text


def test_a_report_that_a_store_does_not_take_any_more_holds_nothing_up(
    job: BucketJob, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watching, "SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr(report_file, "SECONDS_BETWEEN_SAVES_IN_STORES", 0.02)
    monkeypatch.setattr(report_file, "AT_THE_END", report_file.Patience(seconds=1))
    job.s3.put("docs/a.jsonl", lines(documents(400)))
    with job.s3.broken(Fault("Put.*run.json", 403, "AccessDenied", after=1)), caplog.at_level(logging.WARNING):
        code, output = job.run()
    assert code == 0
    told = f"{job.s3.place('reports/run.json')}: the store denies access (403, PutObject)"
    assert sum(told in message and "the run goes on" in message for message in caplog.messages) == 1
    assert "the report could not be written to" in output and told in " ".join(output.split())
    assert len(job.documents()) == 400


def test_a_report_in_a_store_is_written_now_and_then_and_at_the_end(
    job: BucketJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "SECONDS_BETWEEN_LOOKS", 0.01)
    job.s3.put("docs/a.jsonl", lines(documents(200)))
    began = time.monotonic()
    assert job.run()[0] == 0
    meanwhile = (time.monotonic() - began) // report_file.SECONDS_BETWEEN_SAVES_IN_STORES
    puts = [request for request in job.s3.requests if request.startswith("Put")]
    assert 2 <= sum("run.json" in request for request in puts) <= 2 + meanwhile
    # The page, once.
    assert sum("run.html" in request for request in puts) == 1
    # A busy store gets the last report all the same.
    with job.s3.broken(Fault("Put.*run.json", times=2, after=1)):
        assert job.run()[0] == 0
    assert job.report["status"] == "complete"


def test_an_image_is_not_blamed_for_a_store_that_is_away(s3: S3TestServer, one_attempt: None) -> None:
    s3.put("rows.jsonl", lines([{"id": "a", "text": "", "image": "photos/a.png"}]))
    s3.put("photos/a.png", b"no image, which is nobody's business here")
    place = s3.place("rows.jsonl?retry_seconds=1")
    (row,) = read(place, id="id", image="image")
    assert row["_image"] == b"no image, which is nobody's business here"
    with s3.broken(Fault("(Get|Head).*photos")), pytest.raises(StoreError, match=r"photos/a\.png: the store answered"):
        read(place, id="id", image="image")
    with s3.broken(Fault("(Get|Head).*photos", 403, "AccessDenied")):
        (row,) = read(place, id="id", image="image")
    assert "the store denies access" in row["error"]["message"]


@pytest.mark.parametrize("busy", ["List.*docs", "Put.*/out/part-"])
def test_a_job_that_waits_for_a_busy_store_is_stopped_by_ctrl_c(job: BucketJob, busy: str) -> None:
    fault = Fault(busy)
    with job.s3.broken(fault):
        child = job.start()
        # The client's attempts are over, and the pauses are the project's.
        wait_until(lambda: fault.met >= 4)
        child.send_signal(signal.SIGINT)
        output, _ = child.communicate(timeout=SECONDS)
    assert child.returncode == 1 and "stopped; what was written stays" in output and "Traceback" not in output
    assert job.report["status"] == "interrupted"


def test_a_slow_store_keeps_the_last_report_and_not_the_one_that_told_of_the_signal(job: BucketJob) -> None:
    # Nothing but the report takes time when the job is stopped.
    busy, slow = Fault("List.*docs"), Fault("Put.*run.json", 200, times=1, seconds=2.5)
    with job.s3.broken(busy):
        child = job.start()
        wait_until(lambda: busy.met >= 4)
        with job.s3.broken(slow):
            child.send_signal(signal.SIGINT)
            child.communicate(timeout=SECONDS)
    assert slow.met == 2 and job.report["status"] == "interrupted"
    # The report that told of the signal was made before the work began, and has no seconds.
    assert job.report["seconds"] > 0


def test_a_job_whose_store_is_away_is_stopped_within_seconds(job: BucketJob) -> None:
    writing = Fault("Put.*/out/part-")
    with job.s3.broken(writing):
        child = job.start()
        wait_until(lambda: writing.met >= 4)
        with job.s3.broken(Fault(".")):
            began = time.monotonic()
            child.send_signal(signal.SIGINT)
            output, _ = child.communicate(timeout=SECONDS)
    assert child.returncode == 1 and "stopped; what was written stays" in output and "Traceback" not in output
    assert "the lease of" in output and "could not be given back" in output
    # The lease is looked at and given back, and the report is written twice, each for a few seconds: the patience that
    # a run has otherwise is longer than all of it.
    assert time.monotonic() - began < 70
    # The process of this machine that left it is gone: the next one takes over at once.
    code, output = job.run()
    assert code == 0, output
    assert job.documents() == ids(documents(100))
