"""Fetches images from the web by URLs that stand in the data, which nobody has checked.

Whoever wrote the data must not learn by it what the job's network holds, nor stop the job: a host's addresses are
checked and the connection is made to one that was checked, size and time are limited as the bytes come in, and no
credentials, cookies or proxies of this machine are used.

The guard of addresses is our own, because no library binds the connection to the address that it has checked: those
that check a name let the client resolve it again.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpcore
import httpx

from embedders.files.download import TRANSIENT_STATUSES, shown_url
from embedders.retrying import Patience, retry
from pipelines.config.source import HttpConfig
from pipelines.sources.image_values import shown
from pipelines.sources.images.addresses import refusal, resolve

MAX_REDIRECTS = 5
MOST_PORT = 65535
ATTEMPTS = 3
FIRST_PAUSE = 0.5
CONNECT_SECONDS = 10.0
CONNECTIONS = 32
REDIRECTS = frozenset((301, 302, 303, 307, 308))
# A compressed answer would have another size than the one that is limited.
HEADERS = [("User-Agent", "fleetembed"), ("Accept", "image/*, */*;q=0.5"), ("Accept-Encoding", "identity")]
NETWORK_ERRORS = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError)

Refusal = Callable[[str], str | None]


class WebError(Exception):
    """An image cannot be had; the message names its URL without user, password and query."""


class _TransientError(WebError):
    """What another attempt may mend; ``after`` is how many seconds the server asks to wait, if it does."""

    def __init__(self, message: str, after: float | None = None):
        super().__init__(message)
        self.after = after


class _Deadline(threading.local):
    """When the request that a thread is at must be over, by time.monotonic()."""

    at = float("inf")

    def limit(self, timeout: float | None) -> float:
        """Seconds that one operation may take; raises httpcore.ReadTimeout where there are none left."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("out of time")
        return left if timeout is None else min(timeout, left)


class WebImages:
    """Fetches images over http and https by a job's rules; threads may share it. Close it in the end."""

    def __init__(self, config: HttpConfig, max_bytes: int, refuse: Refusal = refusal) -> None:
        """Make one; ``refuse`` says why an address may not be connected to, unless private ones are allowed."""
        self._config = config
        self._max_bytes = min(max_bytes, int(config.max_mb * 1e6))
        self._deadline = _Deadline()
        self._lock = threading.Lock()
        self._pool: httpcore.ConnectionPool | None = None
        self._backend = _CheckedNetwork(self._deadline, None if config.private_addresses else refuse)

    def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            self._pool.close()

    def fetch(self, url: str) -> bytes:
        """GET an image's bytes; raises WebError."""
        if not self._config.allow:
            raise WebError(f"{_shown(url)} is on the web, and source.http.allow is false: set it to true to fetch it")
        patience = Patience(seconds=self._config.timeout, attempts=ATTEMPTS, first_pause=FIRST_PAUSE)
        self._deadline.at = time.monotonic() + self._config.timeout
        try:
            return retry(lambda: self._follow(url), patience, passing=_may_pass, asked_pause=_asked_pause)
        finally:
            self._deadline.at = float("inf")

    def _follow(self, start: str) -> bytes:
        url = _checked(start, start)
        for _ in range(MAX_REDIRECTS + 1):
            with self._answer(url) as response:
                if response.status == 200:
                    return self._body(url, response)
                target = _header(response, b"location")
                if response.status not in REDIRECTS or target is None:
                    raise _failure(url, response)
            url = _checked(target, start, base=url)
        raise WebError(f"{_shown(start)} was redirected more than {MAX_REDIRECTS} times")

    @contextmanager
    def _answer(self, url: httpx.URL) -> Iterator[httpcore.Response]:
        raw = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        headers = [("Host", url.netloc.decode("ascii")), *HEADERS]
        try:
            limit = self._deadline.limit(None)
            times = {"connect": min(CONNECT_SECONDS, limit), "read": limit, "write": limit, "pool": limit}
            with self._connections().stream("GET", raw, headers=headers, extensions={"timeout": times}) as response:
                yield response
        except NETWORK_ERRORS as error:
            if time.monotonic() >= self._deadline.at:
                late = f"{_shown(url)} took longer than {self._config.timeout:g} s (source.http.timeout)"
                raise WebError(late) from None
            message = f"{_shown(url)}: {str(error) or type(error).__name__}"[:500]
            failure = WebError if "CERTIFICATE_VERIFY_FAILED" in message else _TransientError
            raise failure(message) from None

    def _body(self, url: httpx.URL, response: httpcore.Response) -> bytes:
        coding = _header(response, b"content-encoding")
        if coding not in (None, "", "identity"):
            raise WebError(f"{_shown(url)} came compressed ({shown(str(coding))}), which was not asked for")
        length = _header(response, b"content-length") or ""
        pieces, size = [], int(length) if length.isdecimal() else 0
        if size <= self._max_bytes:
            size = 0
            for piece in response.iter_stream():
                pieces.append(piece)
                size += len(piece)
                if size > self._max_bytes:
                    break
            else:
                return b"".join(pieces)
        raise WebError(f"{_shown(url)} has more than {self._max_bytes / 1e6:g} MB (source.http.max_mb)")

    def _connections(self) -> httpcore.ConnectionPool:
        with self._lock:
            if self._pool is None:
                self._pool = httpcore.ConnectionPool(
                    ssl_context=httpx.create_ssl_context(),
                    max_connections=CONNECTIONS,
                    keepalive_expiry=30.0,
                    network_backend=self._backend,
                )
            return self._pool


class _CheckedNetwork(httpcore.NetworkBackend):
    """Connects to addresses that were checked, whatever a name resolves to a moment later.

    TLS and the Host header still go by the name.
    """

    def __init__(self, deadline: _Deadline, refuse: Refusal | None) -> None:
        self._deadline, self._refuse = deadline, refuse
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            addresses = resolve(host, port, self._deadline.limit(timeout))
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise
            raise WebError(f"{shown(host)} is no host that this network knows: {error.strerror}") from None
        for address in addresses:
            kind = self._refuse(address) if self._refuse is not None else None
            if kind is not None:
                at = "" if address == host else f" is at {address},"
                raise WebError(
                    f"{shown(host)}{at or ' is'} {kind}: images are not fetched from there unless "
                    "source.http.private_addresses is true"
                )
        failure: Exception = OSError(f"{shown(host)} has no address")
        for address in addresses:
            try:
                stream = self._sockets.connect_tcp(address, port, self._deadline.limit(timeout), None, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream, self._deadline)
        raise failure

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        raise httpcore.UnsupportedProtocol("only TCP")

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class _TimedStream(httpcore.NetworkStream):
    """A connection each of whose reads and writes ends at the deadline, however little comes at a time."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.limit(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.limit(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        limit = self._deadline.limit(timeout)
        with _shut_after(limit, self._stream.get_extra_info("socket")):
            return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, limit), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


@contextmanager
def _shut_after(seconds: float, connection: socket.socket) -> Iterator[None]:
    """End a connection after so long: in a TLS handshake, a timeout begins anew with each piece that comes."""
    # ssl takes the socket's descriptor over, so that another one is needed to end the connection by.
    with connection.dup() as own:
        watch = threading.Timer(seconds, _shut, [own])
        watch.daemon = True
        watch.start()
        try:
            yield
        finally:
            watch.cancel()


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _checked(target: str, start: str, base: httpx.URL | None = None) -> httpx.URL:
    """Parse a URL, or the target of a redirect, and refuse what is not to be asked."""
    via = "" if base is None else f"{_shown(start)} leads to "
    try:
        url = (httpx.URL(target) if base is None else base.join(target)).copy_with(fragment=None)
    except (httpx.InvalidURL, ValueError) as error:
        raise WebError(f"{via}{_shown(target)} is not a URL: {str(error)[:200]}") from None
    if url.port is not None and url.port > MOST_PORT:
        raise WebError(f"{via}{_shown(url)} is not a URL: there is no port above {MOST_PORT}")
    if url.scheme not in ("http", "https") or not url.host:
        raise WebError(f"{via}{_shown(url)}: only http and https URLs with a host are fetched")
    if url.userinfo:
        raise WebError(f"{via}{_shown(url)}: a URL with a user's name or password is not fetched")
    return url


def _shown(url: str | httpx.URL) -> str:
    try:
        return shown(shown_url(url))
    except ValueError:
        return "a URL that cannot be parsed"


def _header(response: httpcore.Response, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), None)


def _failure(url: httpx.URL, response: httpcore.Response) -> WebError:
    message = f"{_shown(url)} answered HTTP {response.status}"
    if response.status not in TRANSIENT_STATUSES:
        return WebError(message)
    after = _header(response, b"retry-after") or ""
    return _TransientError(message, float(after) if after.isdecimal() else None)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, _TransientError)


def _asked_pause(error: BaseException) -> float | None:
    return error.after if isinstance(error, _TransientError) else None
