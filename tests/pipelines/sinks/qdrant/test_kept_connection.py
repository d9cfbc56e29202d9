"""Upserts over a kept connection: what reaches the server, and what fails, is as qdrant-client's own connections do."""

from __future__ import annotations

import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from pipelines.sinks.qdrant import kept_connection
from pipelines.sinks.qdrant.batches import Points
from pipelines.sinks.qdrant.client import _tls, api_key, open_client
from pipelines.sinks.qdrant.retry import Failure, classify
from pipelines.sinks.qdrant.upserts import Upserts
from tests.pipelines.sinks import qdrant_help as qdrant
from tests.pipelines.sinks import rows
from tests.pipelines.sinks.qdrant.test_body import FACTS, only_points
from tests.waiting import wait_until

DONE = b'{"result": {"operation_id": 1, "status": "completed"}, "status": "ok", "time": 0.1}'
BODY_BYTES = 8 << 20


def answer(body: bytes = DONE, status: str = "200 OK", headers: str = "", promised: int | None = None) -> bytes:
    length = len(body) if promised is None else promised
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n".encode() + body


Scene = Callable[[socket.socket], None]


class ScriptedServer:
    """Plays a scene a request: each is handed the connection, of which it has read the head of the request."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.tls: ssl.SSLContext | None = None
        self.scenes: list[Scene] = []
        self.heads: list[list[str]] = []
        self.bodies: list[bytes] = []
        self.connections = self.ended = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self._play, args=(connection,), daemon=True).start()

    def _play(self, connection: socket.socket) -> None:
        with (
            suppress(OSError),
            self.tls.wrap_socket(connection, server_side=True) if self.tls else connection as connection,
        ):
            while head := self._head(connection):
                self.heads.append(head)
                self.scenes.pop(0)(connection)

    def _head(self, connection: socket.socket) -> list[str]:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (byte := connection.recv(1)):
                return []
            head += byte
        return head.decode().split("\r\n")[:-2]

    def take_body(self, connection: socket.socket) -> None:
        """Read the body of the request at hand."""
        lengths = [int(line.split(":")[1]) for line in self.heads[-1] if line.lower().startswith("content-length")]
        body = b""
        while len(body) < lengths[0]:
            body += connection.recv(1 << 20)
        self.bodies.append(body)

    def says(self, text: bytes, *, ends: bool = False) -> Scene:
        """A scene that takes the body and says something."""

        def play(connection: socket.socket) -> None:
            self.take_body(connection)
            connection.sendall(text)
            if ends:
                connection.shutdown(socket.SHUT_RDWR)
                self.ended += 1

        return play


def reset(connection: socket.socket) -> None:
    """Break the connection before the body is read."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def answer_early(connection: socket.socket) -> None:
    """Refuse the request before the body is read, and say no more."""
    connection.sendall(answer(b'{"status": {"error": "too large"}}', "413 Payload Too Large"))
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(1 << 20):
        pass


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.listener.close()


@pytest.fixture(params=["kept", "client"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A kept connection, or where proxies are set, though not for this host, the client's own."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    if request.param == "client":
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return str(request.param)


def upserts(url: str, **options: Any) -> Upserts:
    config = qdrant.config(url=url, timeout=2, **options)
    return Upserts(open_client(config, api_key(config)), config)


def some_points(size: int = 0) -> Points:
    return only_points(rows.table(FACTS[0], [("d", "text", f'{{"p": "{"x" * size}"}}')]), FACTS[0])


def failure_of(url: str, size: int = 0) -> Failure:
    """What an upsert fails by."""
    with closing(upserts(url)) as sender, pytest.raises(Exception, match=r"(?s).*") as caught:
        sender.send(some_points(size))
    failure = classify(caught.value)
    assert failure is not None
    return failure


BUSY = b'{"status": {"error": "slow"}}'
ANSWERS = {
    "none": (b"", "RemoteProtocolError: Server disconnected without sending a response."),
    "cut": (
        answer(b"{}", promised=100),
        "RemoteProtocolError: peer closed connection without sending complete message body (received 2 bytes, "
        "expected 100)",
    ),
    "no HTTP": (b"220 mail ready\r\n\r\n", "RemoteProtocolError: "),
    "redirect": (answer(b"", "307 Temporary Redirect", "Location: /x\r\n"), "307 Temporary Redirect"),
    "wait": (answer(BUSY, "429 Busy", "Retry-After: 7\r\n"), "429 slow"),
    "no wait": (answer(BUSY, "429 Busy"), "429 slow"),
    "refusal": (answer(b'{"status": {"error": "odd"}}', "400 Bad Request"), "400 odd"),
    "gateway": (answer(b"<html>", "502 Bad Gateway"), "502 Bad Gateway <html>"),
    "page": (answer(b"<html>log in</html>"), "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
    "another object": (answer(b"{}"), "ValidationError: 1 validation error"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_that_are_failures_are_told_alike(server: ScriptedServer, way: str, name: str) -> None:
    text, message = ANSWERS[name]
    server.scenes = [server.says(text, ends=True)]
    failure = failure_of(server.url)
    assert failure.message.startswith(message)
    assert failure.retry_after == (7 if name == "wait" else None)


@pytest.mark.parametrize("said", [b"", answer()[:40]], ids=["nothing", "half"])
def test_silence_is_told_alike(server: ScriptedServer, way: str, said: bytes) -> None:
    server.scenes = [server.says(said)]
    assert failure_of(server.url).message == "ReadTimeout: timed out"


def test_a_server_that_is_not_there_is_told_alike(way: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    assert failure_of(f"http://127.0.0.1:{port}").message == "ConnectError: [Errno 111] Connection refused"


@pytest.mark.parametrize("size", [0, BODY_BYTES])
def test_a_connection_that_breaks_in_mid_request_may_hold_next_time(
    server: ScriptedServer, way: str, size: int
) -> None:
    server.scenes = [reset]
    failure = failure_of(server.url, size)
    assert failure.kind == "passing"
    assert failure.message.split(":")[0] in ("ReadError", "RemoteProtocolError")


def test_an_answer_that_comes_before_the_body_is_read_is_heard(server: ScriptedServer, way: str) -> None:
    server.scenes = [answer_early]
    assert failure_of(server.url, BODY_BYTES).message == "413 too large"


def test_requests_are_alike(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "s3cret")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for proxy in ("", "http://127.0.0.1:9"):
        monkeypatch.setenv("HTTP_PROXY", proxy)
        server.scenes = [server.says(answer())]
        with pytest.warns(UserWarning, match="insecure"):
            sender = upserts(f"{server.url}/behind", collection="Bücher+%&")
        with closing(sender):
            assert sender.send(some_points(BODY_BYTES)).status == "completed"
    (first, *kept), (line, *clients) = server.heads
    assert first == line == "PUT /behind/collections/B%C3%BCcher%2B%25%26/points?wait=true HTTP/1.1"
    kept_headers, clients_headers = ({one.lower() for one in headers} for headers in (kept, clients))
    assert "api-key: s3cret" in kept_headers
    packed = {one for one in kept_headers ^ clients_headers if one.startswith("accept-encoding: ")}
    assert kept_headers ^ clients_headers == packed
    assert server.bodies == [some_points(BODY_BYTES).json] * 2


def test_a_connection_is_kept_until_it_is_closed_or_old(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(upserts(server.url)) as sender:
        server.scenes = [server.says(answer()), server.says(answer(), ends=True)]
        for connections in (1, 1):
            sender.send(some_points())
            assert server.connections == connections
        # The server has ended it meanwhile.
        wait_until(lambda: server.ended == 1)
        server.scenes = [server.says(answer(headers="Connection: close\r\n")), *[server.says(answer())] * 2]
        for connections in (2, 3):
            sender.send(some_points())
            assert server.connections == connections
        monkeypatch.setattr(kept_connection, "IDLE_SECONDS", -1)
        sender.send(some_points())
        assert server.connections == 4


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ssl.SSLContext]:
    """A server's certificate for localhost, which this process trusts."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("needs the openssl command to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    what = "-x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, "req", *what.split(), *files], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    _tls.cache_clear()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    yield context
    _tls.cache_clear()


def test_a_certificate_must_be_the_hosts(server: ScriptedServer, way: str, trusted: ssl.SSLContext) -> None:
    server.tls, server.scenes = trusted, [server.says(answer())]
    with closing(upserts(f"https://localhost:{server.port}")) as sender:
        assert sender.send(some_points(BODY_BYTES)).status == "completed"
    assert server.bodies == [some_points(BODY_BYTES).json]
    message = failure_of(f"https://127.0.0.1:{server.port}").message
    assert message.startswith("ConnectError: [SSL: CERTIFICATE_VERIFY_FAILED]") and "127.0.0.1" in message
