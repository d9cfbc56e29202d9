"""A connection to a server that is kept between requests, by http.client: it takes a fourth of httpx's time a request.

What fails, fails by httpx's errors and with its words, so that it does not matter to callers which of the two it was.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection, IncompleteRead, RemoteDisconnected
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx

# After so many seconds without a request a connection is made anew, as httpx does: others may have forgotten it.
IDLE_SECONDS = 5.0
# Bytes that are handed to the socket at once: each piece has the whole timeout.
PIECE_BYTES = 256 << 10


def are_proxies_set() -> bool:
    """Tell whether the environment, or the system, names proxies for web requests, which httpx may have to go by."""
    return not getproxies().keys().isdisjoint(("http", "https", "all"))


class KeptConnection:
    """Sends bodies to a server's ``url``, without a proxy, by one thread at a time; ``timeout`` is in seconds."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout: float, tls: ssl.SSLContext) -> None:
        parts = urlsplit(url)
        host = parts.hostname or ""
        self._connection = (
            HTTPSConnection(host, parts.port, timeout=timeout, context=tls)
            if parts.scheme == "https"
            else HTTPConnection(host, parts.port, timeout=timeout)
        )
        self._path = parts.path.rstrip("/")
        self._headers = headers
        self._used = 0.0

    def put(self, path: str, body: bytes) -> httpx.Response:
        """Send a body of JSON, and read the answer, whatever its status; raises httpx.TransportError."""
        self._connect()
        try:
            self._send(path, body)
            answer = self._connection.getresponse()
            content = answer.read()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError | HTTPException):
                raise _of_reading(error) from error
            raise
        self._used = time.monotonic()
        return httpx.Response(
            answer.status,
            headers=answer.getheaders(),
            content=content,
            extensions={"reason_phrase": answer.reason.encode("latin-1")},
        )

    def close(self) -> None:
        """Close the connection; the next request makes one anew."""
        self._connection.close()

    def _connect(self) -> None:
        connection = self._connection
        if connection.sock is not None:
            if time.monotonic() - self._used <= IDLE_SECONDS and not _is_readable(connection.sock):
                return
            self.close()
        try:
            connection.connect()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                kind = httpx.ConnectTimeout if isinstance(error, TimeoutError) else httpx.ConnectError
                raise kind(str(error)) from error
            raise

    def _send(self, path: str, body: bytes) -> None:
        headers = {**self._headers, "Content-Type": "application/json", "Content-Length": str(len(body))}
        try:
            self._connection.request("PUT", self._path + path, pieces(body), headers)
        except TimeoutError as error:
            raise httpx.WriteTimeout(str(error)) from error
        except OSError:
            # A server may answer before it has read all, and close: the answer says why.
            pass


def pieces(body: bytes) -> Iterator[memoryview]:
    """Cut a body into pieces, without a copy."""
    whole = memoryview(body)
    return (whole[start : start + PIECE_BYTES] for start in range(0, len(body), PIECE_BYTES))


def _is_readable(connection: socket.socket) -> bool:
    """Tell whether there is something to read where no answer is due, which is the end of the connection."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        return bool(selector.select(0))


def _of_reading(error: OSError | HTTPException) -> httpx.TransportError:
    if isinstance(error, RemoteDisconnected):
        return httpx.RemoteProtocolError("Server disconnected without sending a response.")
    if isinstance(error, IncompleteRead):
        found, due = len(error.partial), len(error.partial) + (error.expected or 0)
        why = f"peer closed connection without sending complete message body (received {found} bytes, expected {due})"
        return httpx.RemoteProtocolError(why)
    if isinstance(error, HTTPException):
        return httpx.RemoteProtocolError(f"{type(error).__name__}: {error}")
    return (httpx.ReadTimeout if isinstance(error, TimeoutError) else httpx.ReadError)(str(error))
