from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from queue import Queue

import pytest

from pipelines.config.source import HttpConfig
from pipelines.sources.images.addresses import refusal
from pipelines.sources.images.web import Refusal, WebError, WebImages
from tests.pipelines.sources.images.images import Web, send, serving
from tests.waiting import SECONDS

LOCAL = HttpConfig(allow=True, private_addresses=True, timeout=60)
MB = 1_000_000


def endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Connection", "close")
    request.end_headers()
    while True:
        request.wfile.write(bytes(65536))


def dripping(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "100000")
    request.end_headers()
    for _ in range(20 * SECONDS):
        request.wfile.write(b"x")
        request.wfile.flush()
        time.sleep(0.05)


def redirect(target: str, status: int = 302) -> object:
    return lambda request: send(request, b"", status, Location=target)


class Flaky:
    """Answers 503 a number of times, then with an image."""

    def __init__(self, failures: int) -> None:
        self.failures = failures

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        self.failures -= 1
        send(request, b"image", 503 if self.failures >= 0 else 200)


PAGES = {
    "/a.jpg": b"an image",
    "/a b.jpg": b"never asked for by this name",
    "/a%20b.jpg": b"with a space",
    "/endless": endless,
    "/dripping": dripping,
    "/large": lambda request: send(request, bytes(MB)),
    "/boasting": lambda request: send(request, b"", Content_Length=str(10**12)),
    "/short": lambda request: send(request, b"too little", Content_Length="100", Connection="close"),
    "/packed": lambda request: send(request, b"zzz", Content_Encoding="gzip"),
    "/moved": redirect("/a.jpg", 301),
    "/twice": redirect("moved"),
    "/loop": redirect("/loop"),
    "/to-ftp": redirect("ftp://127.0.0.1/a.jpg"),
    "/to-file": redirect("file:///etc/passwd"),
    "/to-metadata": redirect("http://169.254.169.254/latest/meta-data?key=secret"),
    "/to-private": redirect("http://10.1.2.3/a.jpg"),
    "/to-ipv6": redirect("http://[::1]:1/a.jpg"),
    "/to-user": redirect("http://me:secret@127.0.0.1/a.jpg"),
    "/nowhere": lambda request: send(request, b"", 302),
    "/not-modified": lambda request: send(request, b"", 304),
    "/busy": Flaky(1000),
    "/flaky": Flaky(1),
    "/cookie": lambda request: send(request, b"image", Set_Cookie="session=1; Path=/"),
}


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with serving(PAGES) as server:  # type: ignore[arg-type]
        yield server


def fetch(url: str, config: HttpConfig = LOCAL, max_bytes: int = 100 * MB, refuse: Refusal = refusal) -> bytes:
    images = WebImages(config, max_bytes, refuse)
    try:
        return images.fetch(url)
    finally:
        images.close()


def refuse_all_but_the_server(address: str) -> str | None:
    """Take the tests' own server for a public one."""
    return None if address == "127.0.0.1" else refusal(address)


def failure(url: str, config: HttpConfig = LOCAL, max_bytes: int = 100 * MB, refuse: Refusal = refusal) -> str:
    with pytest.raises(WebError) as caught:
        fetch(url, config, max_bytes, refuse)
    assert "secret" not in str(caught.value)
    return str(caught.value)


def test_an_image_is_fetched_also_where_it_has_moved(web: Web) -> None:
    for path in ("/a.jpg", "/a.jpg?size=1&secret=2", "/moved", "/twice", "/a.jpg#part"):
        assert fetch(web.url(path)) == b"an image"
    assert fetch(web.url("/a b.jpg")) == b"with a space"
    assert web.seen[1][0] == "/a.jpg?size=1&secret=2"


def test_nothing_is_asked_unless_the_job_allows_it(web: Web) -> None:
    asked = len(web.seen)
    message = failure(web.url("/a.jpg?secret=1"), HttpConfig(private_addresses=True))
    assert message == f"{web.url('/a.jpg')} is on the web, and source.http.allow is false: set it to true to fetch it"
    assert len(web.seen) == asked


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/absent.jpg?secret=1", "/absent.jpg answered HTTP 404"),
        ("/not-modified", "/not-modified answered HTTP 304"),
        ("/nowhere", "/nowhere answered HTTP 302"),
        ("/loop", "/loop was redirected more than 5 times"),
        ("/packed", "/packed came compressed (gzip), which was not asked for"),
        ("/to-ftp", "leads to ftp://127.0.0.1/a.jpg: only http and https URLs with a host are fetched"),
        ("/to-file", "only http and https URLs with a host are fetched"),
        ("/to-user", "a URL with a user's name or password is not fetched"),
        ("/boasting", "has more than 20 MB (source.http.max_mb)"),
    ],
)
def test_what_cannot_be_had_says_why(web: Web, path: str, message: str) -> None:
    assert message in failure(web.url(path))


def test_sizes_are_limited_as_bytes_come_in(web: Web) -> None:
    small = HttpConfig(allow=True, private_addresses=True, max_mb=0.5)
    assert failure(web.url("/endless"), small).endswith("has more than 0.5 MB (source.http.max_mb)")
    assert failure(web.url("/large"), small).endswith("has more than 0.5 MB (source.http.max_mb)")
    assert failure(web.url("/large"), max_bytes=MB // 10).endswith("has more than 0.1 MB (source.http.max_mb)")
    assert len(fetch(web.url("/large"), max_bytes=MB)) == MB


def test_a_slow_drip_ends_at_the_total_limit(web: Web) -> None:
    started = time.monotonic()
    message = failure(web.url("/dripping"), HttpConfig(allow=True, private_addresses=True, timeout=0.4))
    assert message.endswith("/dripping took longer than 0.4 s (source.http.timeout)")
    assert time.monotonic() - started < SECONDS / 2


@pytest.mark.slow
def test_what_may_pass_is_tried_again_and_what_ends_early_is_no_image(web: Web) -> None:
    assert fetch(web.url("/flaky")) == b"image"
    assert failure(web.url("/busy")).endswith("/busy answered HTTP 503")
    asked = len(web.seen)
    assert "/short: " in failure(web.url("/short"))
    assert len(web.seen) == asked + 3


def test_a_wish_to_wait_past_the_limit_is_not_waited_for() -> None:
    with serving({"/": lambda request: send(request, b"", 429, Retry_After="3600")}) as web:
        assert failure(web.url("/")).endswith("/ answered HTTP 429")
        assert len(web.seen) == 1


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("127.1", "loopback"),
        ("2130706433", "loopback"),
        ("0x7f.0.0.1", "loopback"),
        ("localhost", "loopback"),
        ("[::1]", "loopback"),
        ("[::ffff:127.0.0.1]", "loopback"),
        ("0.0.0.0", "reserved"),
        ("10.1.2.3", "private"),
        ("192.168.0.1", "private"),
        ("172.16.0.1", "private"),
        ("169.254.169.254", "link-local"),
        ("[fe80::1]", "link-local"),
        ("[fd00:ec2::254]", "private"),
        ("224.0.0.1", "multicast"),
    ],
)
def test_hosts_that_are_not_public_are_not_connected_to(web: Web, host: str, kind: str) -> None:
    asked = len(web.seen)
    message = failure(web.url("/a.jpg", host), HttpConfig(allow=True, timeout=60))
    assert (
        f"a {kind} address: images are not fetched from there unless source.http.private_addresses is true" in message
    )
    assert len(web.seen) == asked


@pytest.mark.parametrize(
    ("path", "kind"), [("/to-metadata", "link-local"), ("/to-private", "private"), ("/to-ipv6", "loopback")]
)
def test_a_redirect_to_a_host_that_is_not_public_is_not_followed(web: Web, path: str, kind: str) -> None:
    public = HttpConfig(allow=True, timeout=60)
    assert fetch(web.url("/moved"), public, refuse=refuse_all_but_the_server) == b"an image"
    assert f" a {kind} address" in failure(web.url(path), public, refuse=refuse_all_but_the_server)


class Names:
    """Resolves names of the tests' own, each time to the next of its answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: list[list[str]]) -> None:
        self.asked: list[str] = []
        system = socket.getaddrinfo

        def look_up(host: str, port: int, *args: object, **options: object) -> object:
            self.asked.append(host)
            known = answers.get(host.partition(".")[0])
            if known is None:
                return system(host, port, *args, **options)  # type: ignore[arg-type]
            addresses = known.pop(0) if len(known) > 1 else known[0]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)


def test_the_connection_is_made_to_the_address_that_was_checked(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, photos=[["127.0.0.1"], ["10.0.0.1"]])
    public = HttpConfig(allow=True, timeout=60)
    assert fetch(web.url("/a.jpg", "photos.test"), public, refuse=refuse_all_but_the_server) == b"an image"
    assert names.asked.count("photos.test") == 1
    assert web.seen[-1][1]["host"] == f"photos.test:{web.port}"
    message = failure(web.url("/a.jpg", "photos.test"), public, refuse=refuse_all_but_the_server)
    assert "photos.test is at 10.0.0.1, a private address" in message


def test_a_name_with_one_private_address_among_others_is_refused(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, mixed=[["127.0.0.1", "10.0.0.1"]])
    public = HttpConfig(allow=True, timeout=60)
    assert "10.0.0.1" in failure(web.url("/a.jpg", "mixed.test"), public, refuse=refuse_all_but_the_server)


def test_a_dead_address_does_not_hide_a_living_one(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, two=[["127.0.0.2", "127.0.0.1"]])
    assert fetch(web.url("/a.jpg", "two.test")) == b"an image"


def test_a_resolver_that_does_not_answer_costs_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: over.wait(SECONDS))
    started = time.monotonic()
    try:
        message = failure("http://slow.test/a.jpg", HttpConfig(allow=True, timeout=0.3))
    finally:
        over.set()
    assert "took longer than 0.3 s" in message
    assert time.monotonic() - started < SECONDS / 2


def test_an_unknown_host_and_urls_that_are_none_are_told_apart() -> None:
    assert "no host that this network knows" in failure("http://nowhere.invalid/a.jpg")
    assert "only http and https URLs" in failure("ftp://127.0.0.1/a.jpg")
    assert "user's name or password" in failure("http://me:secret@127.0.0.1/a.jpg")
    for broken, message in {
        "http://": "http://: only http and https URLs with a host are fetched",
        "http:///a.jpg": "http:///a.jpg: only http and https URLs with a host are fetched",
        "http://[::1/a.jpg": "a URL that cannot be parsed is not a URL: ",
        "http://127.0.0.1:99999/": "http://127.0.0.1:99999/ is not a URL: there is no port above 65535",
        "http://a b/": "a%20b is no host that this network knows: ",
    }.items():
        assert failure(broken).startswith(message)


def test_no_credentials_cookies_or_proxies_of_this_machine_are_used(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    images = WebImages(LOCAL, MB)
    assert [images.fetch(web.url("/cookie")) for _ in range(2)] == [b"image"] * 2
    images.close()
    assert not {"cookie", "authorization", "referer"} & web.seen[-1][1].keys()


def drip(first: bytes, piece: bytes) -> tuple[socket.socket, Queue[bytes]]:
    """Answer a connection with bytes that come in good time, but never end; gives the listener and what it heard."""
    listener = socket.create_server(("127.0.0.1", 0))
    heard: Queue[bytes] = Queue()

    def talk() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            heard.put(connection.recv(65536))
            connection.sendall(first)
            for _ in range(20 * SECONDS):
                connection.sendall(piece)
                time.sleep(0.05)

    threading.Thread(target=talk, daemon=True).start()
    return listener, heard


def test_a_tls_handshake_asks_for_the_name_and_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, photos=[["127.0.0.1"]])
    # The head of a TLS record of 16 KB that holds a handshake.
    listener, heard = drip(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc", b"\0")
    started = time.monotonic()
    with listener:
        url = f"https://photos.test:{listener.getsockname()[1]}/a.jpg"
        message = failure(url, HttpConfig(allow=True, private_addresses=True, timeout=2))
    assert time.monotonic() - started < SECONDS / 2
    assert "took longer than 2 s" in message
    assert b"photos.test" in heard.get(timeout=SECONDS)


def test_headers_that_drip_end_at_the_limit() -> None:
    listener, _ = drip(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x")
    with listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        message = failure(url, HttpConfig(allow=True, private_addresses=True, timeout=0.5))
    assert "took longer than 0.5 s" in message


def test_threads_share_one_client(web: Web) -> None:
    images = WebImages(LOCAL, MB)
    with ThreadPoolExecutor(16) as pool:
        bodies = list(pool.map(images.fetch, [web.url("/a.jpg")] * 100))
    images.close()
    assert bodies == [b"an image"] * 100


@pytest.fixture
def certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Port of a server that has a certificate for photos.test, by an authority that this process trusts."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("needs the openssl command to make a certificate")
    made = tmp_path / "key.pem", tmp_path / "certificate.pem"
    what = "-x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=photos.test -addext subjectAltName=DNS:photos.test"
    files = ["-keyout", str(made[0]), "-out", str(made[1])]
    subprocess.run([openssl, "req", *what.split(), *files], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(made[1]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made[1], made[0])
    with serving({"/a.jpg": b"an image"}, context) as server:
        yield server.port


def test_a_certificate_must_be_the_names(certified: int, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, photos=[["127.0.0.1"]], other=[["127.0.0.1"]])
    assert fetch(f"https://photos.test:{certified}/a.jpg") == b"an image"
    assert "CERTIFICATE_VERIFY_FAILED" in failure(f"https://other.test:{certified}/a.jpg")
    # It is not tried again.
    assert names.asked.count("other.test") == 1
