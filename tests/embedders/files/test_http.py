from __future__ import annotations

import hashlib
import logging
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from huggingface_hub import constants, get_session

from embedders.files.download import Deadline, DownloadError, Timeouts, TransientDownloadError
from embedders.files.http import download_file
from tests.embedders.files.hub_models import QUICK
from tests.hub_server import Fault, HubServer
from tests.waiting import wait_until

pytest_plugins = ["tests.embedders.files.hub_fixtures"]
pytestmark = pytest.mark.usefixtures("no_pauses")

CONTENT = random.Random(7).randbytes(300_000)
PIECE = constants.DOWNLOAD_CHUNK_SIZE


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as running:
        running.plain["/file"] = CONTENT
        yield running


def fetch(server: HubServer, target: Path, timeouts: Timeouts = QUICK) -> None:
    download_file(f"{server.url}/file", target, "a file", Deadline(timeouts))


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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cut", "stall"])
def test_a_broken_transfer_goes_on_where_it_stopped(server: HubServer, tmp_path: Path, kind: str) -> None:
    # The library keeps whole pieces only.
    server.plain["/file"] = random.Random(8).randbytes(3 * PIECE + 5)
    server.fail("/file", Fault(kind, times=2, after=PIECE + 1000))  # type: ignore[arg-type]
    fetch(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == server.plain["/file"]
    ranges = [item.headers.get("range") for item in server.requests]
    assert ranges == [None, f"bytes={PIECE}-", f"bytes={2 * PIECE}-"]


def test_a_file_is_asked_for_as_it_is_stored(server: HubServer, tmp_path: Path) -> None:
    fetch(server, tmp_path / "f")
    assert [item.headers["accept-encoding"] for item in server.requests] == ["identity"]


def test_a_server_without_ranges_sends_all_again(server: HubServer, tmp_path: Path) -> None:
    server.plain["/file"] = random.Random(8).randbytes(2 * PIECE)
    server.ranges = False
    server.fail("/file", Fault("cut", after=PIECE + 1000))
    fetch(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == server.plain["/file"]


def test_a_file_that_changed_between_two_attempts_is_not_pieced_together(server: HubServer, tmp_path: Path) -> None:
    server.fail("/file", Fault("cut", after=100_000), Fault("swap", content=bytes(300_000)))
    fetch(server, tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == bytes(300_000)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cut", "stall"])
def test_a_transfer_that_never_recovers_ends(server: HubServer, tmp_path: Path, kind: str) -> None:
    server.fail("/file", Fault(kind, times=None, after=10))  # type: ignore[arg-type]
    with pytest.raises(TransientDownloadError, match=r"127\.0\.0\.1:\d+/file"):
        fetch(server, tmp_path / "f", replace(QUICK, read=0.1, attempts=2))
    # Each attempt goes on five times in a row.
    assert len(server.requests) == 2 * 6


def test_a_drip_is_ended_by_the_total_limit(server: HubServer, tmp_path: Path) -> None:
    server.fail("/file", Fault("drip", times=None))
    with pytest.raises(DownloadError, match=r"longer than 0\.5 s"):
        fetch(server, tmp_path / "f", Timeouts(read=5, total=0.5))


@pytest.mark.timeout(300)
def test_a_silent_server_is_not_waited_for_beyond_the_total_limit(server: HubServer, tmp_path: Path) -> None:
    server.fail("/file", Fault("stall", times=None))
    with pytest.raises(DownloadError, match=r"longer than 0\.5 s"):
        fetch(server, tmp_path / "f", Timeouts(read=600, total=0.5))


def test_requests_are_given_the_limits(server: HubServer, tmp_path: Path) -> None:
    given = []

    def note(response: httpx.Response) -> None:
        given.append(response.request.extensions["timeout"])

    hooks = get_session().event_hooks["response"]
    hooks.append(note)
    try:
        fetch(server, tmp_path / "f", Timeouts(connect=3, read=5))
    finally:
        hooks.remove(note)
    assert given == [{"connect": 3, "read": 5, "write": 5, "pool": 5}]


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
    with pytest.raises(TransientDownloadError, match=url + "/file: ConnectError"):
        download_file(f"{url}/file", tmp_path / "f", "a file", Deadline(QUICK))


def test_secrets_in_a_url_are_not_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="ftp://host/file: UnsupportedProtocol") as caught:
        download_file("ftp://user:pass@host/file?sig=s", tmp_path / "f", "a file", Deadline(QUICK))
    assert "pass" not in str(caught.value) and caught.value.__context__ is None


def test_secrets_in_a_url_are_not_logged(
    server: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG, logger="httpx")
    server.fail("/file", Fault("cut", after=10), Fault("status"))
    download_file(f"{server.url}/file?Signature=secret", tmp_path / "f", "a file", Deadline(QUICK))
    assert hashlib.sha256((tmp_path / "f").read_bytes()).digest() == hashlib.sha256(CONTENT).digest()
    assert "secret" not in caplog.text and "secret" not in "".join(capfd.readouterr())


def test_other_threads_requests_by_the_librarys_session_are_left_alone(server: HubServer, tmp_path: Path) -> None:
    server.fail("/file", Fault("stall", after=10))
    server.plain["/other"] = b"theirs"
    server.fail("/other", Fault("status", status=503))
    slow = threading.Thread(target=fetch, args=(server, tmp_path / "f", replace(QUICK, read=1)))
    slow.start()
    wait_until(lambda: server.requests)
    response = get_session().get(f"{server.url}/other")
    assert response.status_code == 503
    assert response.request.extensions["timeout"] == httpx.Timeout(None).as_dict()
    slow.join()
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_nothing_of_a_download_stays_in_the_librarys_session(server: HubServer, tmp_path: Path) -> None:
    before = {name: list(hooks) for name, hooks in get_session().event_hooks.items()}
    fetch(server, tmp_path / "f")
    assert {name: list(hooks) for name, hooks in get_session().event_hooks.items()} == before
    assert not logging.getLogger("httpx").filters
