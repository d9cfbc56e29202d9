from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedders.errors import FleetembedError
from embedders.files.download import DownloadError, Expected, Fetcher, Timeouts, TransientDownloadError, shown_url
from tests.hub_server import Fault, HubServer, git_blob_id

QUICK = Timeouts(connect=2, read=0.7, total=20, attempts=3, backoff=0.01)
CONTENT = random.Random(7).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as running:
        running.plain["/file"] = CONTENT
        yield running


def fetch(server: HubServer, target: Path, expected: Expected | None = None, timeouts: Timeouts = QUICK) -> None:
    with Fetcher(timeouts) as fetcher:
        fetcher.file(f"{server.url}/file", target, expected or Expected(len(CONTENT), SHA256), {})


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_error_is_retried(server: HubServer, tmp_path: Path, status: int) -> None:
    server.fail("/file", Fault("status", times=2, status=status))
    fetch(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_lasting_error_is_not_retried(server: HubServer, tmp_path: Path, status: int) -> None:
    server.fail("/file", Fault("status", times=None, status=status))
    with pytest.raises(DownloadError, match=f"HTTP {status}"):
        fetch(server, tmp_path / "f")
    assert len(server.requests) == 1


def test_a_wrong_hash_is_not_retried(server: HubServer, tmp_path: Path) -> None:
    server.fail("/file", Fault("swap", times=None, content=CONTENT[::-1]))
    with pytest.raises(DownloadError, match="sha256 is .* instead of " + SHA256):
        fetch(server, tmp_path / "f")
    assert len(server.requests) == 1


def test_a_wrong_git_blob_id_is_noticed(server: HubServer, tmp_path: Path) -> None:
    fetch(server, tmp_path / "f", Expected(git_sha1=git_blob_id(CONTENT)))
    with pytest.raises(DownloadError, match="git blob id"):
        fetch(server, tmp_path / "f", Expected(git_sha1=git_blob_id(b"other")))


def test_a_file_longer_than_announced_is_refused(server: HubServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="more than the expected 1000 bytes"):
        fetch(server, tmp_path / "f", Expected(1000))


@pytest.mark.parametrize("kind", ["cut", "stall"])
def test_a_broken_transfer_goes_on_where_it_stopped(server: HubServer, tmp_path: Path, kind: str) -> None:
    server.fail("/file", Fault(kind, times=2, after=100_000))  # type: ignore[arg-type]
    fetch(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert [item.headers.get("range") for item in server.requests] == [None, "bytes=100000-", "bytes=200000-"]


def test_a_server_without_ranges_sends_all_again(server: HubServer, tmp_path: Path) -> None:
    server.ranges = False
    server.fail("/file", Fault("cut", after=100_000))
    fetch(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_a_file_that_changed_between_two_attempts_is_not_pieced_together(server: HubServer, tmp_path: Path) -> None:
    server.fail("/file", Fault("cut", after=100_000), Fault("swap", content=bytes(300_000)))
    fetch(server, tmp_path / "f", Expected())
    assert (tmp_path / "f").read_bytes() == bytes(300_000)


@pytest.mark.parametrize("kind", ["cut", "stall"])
def test_a_transfer_that_never_recovers_ends_after_the_attempts(server: HubServer, tmp_path: Path, kind: str) -> None:
    server.fail("/file", Fault(kind, times=None, after=10))  # type: ignore[arg-type]
    with pytest.raises(TransientDownloadError, match=r"127\.0\.0\.1:\d+/file"):
        fetch(server, tmp_path / "f")
    assert len(server.requests) == QUICK.attempts


def test_a_drip_is_ended_by_the_total_limit(server: HubServer, tmp_path: Path) -> None:
    server.fail("/file", Fault("drip", times=None))
    with pytest.raises(DownloadError, match=r"longer than 0\.5 s"):
        fetch(server, tmp_path / "f", timeouts=Timeouts(read=5, total=0.5))


def test_a_wait_the_server_wants_is_not_begun_beyond_the_total_limit(server: HubServer, tmp_path: Path) -> None:
    server.fail("/file", Fault("status", times=None, status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(TransientDownloadError, match="HTTP 429"):
        fetch(server, tmp_path / "f")
    assert len(server.requests) == 1


def test_a_hard_link_at_the_target_is_not_written_through(server: HubServer, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(b"theirs")
    (tmp_path / "f").hardlink_to(tmp_path / "theirs")
    fetch(server, tmp_path / "f")
    assert (tmp_path / "theirs").read_bytes() == b"theirs"


def test_nobody_listening_is_an_error_that_names_the_place(tmp_path: Path) -> None:
    with HubServer() as server:
        url = server.url
    with Fetcher(QUICK) as fetcher, pytest.raises(TransientDownloadError, match=url + "/file: ConnectError"):
        fetcher.file(f"{url}/file", tmp_path / "f", Expected(), {})


def test_secrets_in_a_url_are_not_shown(tmp_path: Path) -> None:
    assert shown_url("https://user:pass@host:8443/a/b?Signature=s#x") == "https://host:8443/a/b"
    with Fetcher(QUICK) as fetcher, pytest.raises(DownloadError) as caught:
        fetcher.file("ftp://user:pass@host/file?sig=s", tmp_path / "f", Expected(), {"authorization": "Bearer hf_x"})
    assert "pass" not in str(caught.value) and caught.value.__context__ is None


def test_an_answer_that_is_not_json_is_a_clear_error(server: HubServer) -> None:
    server.plain["/api"] = b"<html>captive portal</html>"
    with Fetcher(QUICK) as fetcher, pytest.raises(DownloadError, match="did not answer with JSON"):
        fetcher.json(f"{server.url}/api", {})


def test_limits_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETEMBED_DOWNLOAD_READ", "2.5")
    monkeypatch.setenv("FLEETEMBED_DOWNLOAD_ATTEMPTS", "7")
    assert Timeouts.from_env() == Timeouts(read=2.5, attempts=7)


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan"])
def test_a_limit_that_is_no_positive_number_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FLEETEMBED_DOWNLOAD_TOTAL", value)
    with pytest.raises(FleetembedError, match=f"FLEETEMBED_DOWNLOAD_TOTAL is '{value}'"):
        Timeouts.from_env()
