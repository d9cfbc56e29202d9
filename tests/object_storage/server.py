"""A server of the S3 protocol on loopback: moto's, behind a door that counts requests and breaks some of them."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

KEY, SECRET = "test-key-id", "t0p-s3cret-of-the-tests"

Start = Callable[..., Any]
Environ = dict[str, Any]


@dataclass
class Fault:
    """What becomes of requests: ``pattern`` is looked for in "Operation bucket/key".

    ``status`` 0 breaks the connection, ``status`` 1 breaks it in the middle of the answer, ``status`` 200 lets the
    server answer; each after ``seconds``. With ``late`` the server has done what it was asked for before that. Of the
    requests that match, the first ``after`` are left alone.
    """

    pattern: str
    status: int = 503
    code: str = "SlowDown"
    times: int = 1 << 30
    after: int = 0
    late: bool = False
    seconds: float = 0.0
    met: int = 0

    def takes(self, request: str) -> bool:
        if not re.search(self.pattern, request):
            return False
        self.met += 1
        return self.after < self.met <= self.after + self.times


class S3TestServer:
    """The server, in threads of this process; ``requests`` are "Operation bucket/key" in the order they came."""

    def __init__(self) -> None:
        self.bucket = ""
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self._lock = threading.Lock()
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Handler)
        self.url = f"http://127.0.0.1:{self._server.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def client(self) -> Any:
        """Make a client of another library than the one that is tested."""
        return boto3.client(
            "s3", endpoint_url=self.url, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1"
        )

    def start_anew(self, bucket: str) -> None:
        """Make a bucket that all is in from now on, and forget requests and faults."""
        self.bucket = bucket
        self.faults.clear()
        self.client.create_bucket(Bucket=bucket)
        self.requests.clear()

    def place(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def put(self, key: str, data: bytes | str) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        found: bytes = self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return found

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def uploads(self) -> list[str]:
        """Keys of multipart uploads that were begun, and neither completed nor aborted."""
        return [upload["Key"] for upload in self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ())]

    @contextmanager
    def broken(self, *faults: Fault) -> Iterator[None]:
        self.faults += faults
        try:
            yield
        finally:
            for fault in faults:
                self.faults.remove(fault)

    @contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        """Count operations by name."""
        before, counts = len(self.requests), Counter[str]()
        yield counts
        counts.update(request.partition(" ")[0] for request in self.requests[before:])

    def _answer(self, environ: Environ, start: Start) -> Iterable[bytes]:
        request = _describe(environ)
        with self._lock:
            self.requests.append(request)
            fault = next((fault for fault in self.faults if fault.takes(request)), None)
        if (refusal := _refusal(environ)) is not None:
            return _error(environ, start, 403, refusal)
        if fault is not None:
            time.sleep(fault.seconds)
        if fault is None or fault.status == 200:
            return self._moto(environ, start)  # type: ignore[no-any-return]
        if fault.late:
            list(self._moto(environ, lambda *_, **__: None))
        if fault.status == 1:
            _cut(environ, list(self._moto(environ, start)))
        if fault.status == 0:
            _reset(environ)
            return []
        return _error(environ, start, fault.status, fault.code)


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: Any, **__: Any) -> None:
        pass

    def handle(self) -> None:
        # Of connections that a test broke.
        with suppress(ConnectionError, ValueError):
            super().handle()


def _describe(environ: Environ) -> str:
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"].lstrip("/")
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    key = path.partition("/")[2]
    if "partNumber" in query:
        name = "UploadPart"
    elif "uploads" in query:
        name = "CreateMultipartUpload" if method == "POST" else "ListMultipartUploads"
    elif "uploadId" in query:
        name = {"POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}.get(method, method)
    elif method == "POST" and "delete" in query:
        name = "DeleteObjects"
    elif method == "GET" and not key:
        name = "List"
        path += f"/{query.get('prefix', [''])[0]}"
    else:
        name = {"GET": "Get", "PUT": "Put", "HEAD": "Head", "DELETE": "Delete"}.get(method, method)
        name += "Object" if key else "Bucket"
    return f"{name} {path}"


def _refusal(environ: Environ) -> str | None:
    signed = environ.get("HTTP_AUTHORIZATION", "")
    if not signed:
        return "AccessDenied"
    return None if f"Credential={KEY}/" in signed else "InvalidAccessKeyId"


def _error(environ: Environ, start: Start, status: int, code: str) -> Iterable[bytes]:
    # What was sent is read, so that the connection can be used again.
    length = int(environ.get("CONTENT_LENGTH") or 0)
    environ["wsgi.input"].read(length)
    body = f"<Error><Code>{code}</Code><Message>as the test says</Message></Error>".encode()
    body = b"" if environ["REQUEST_METHOD"] == "HEAD" else body
    start(f"{status} {code}", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


def _cut(environ: Environ, body: list[bytes]) -> None:
    connection: socket.socket = environ["werkzeug.socket"]
    whole = b"".join(body)
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(whole)}\r\n\r\n".encode()
    connection.sendall(head + whole[: len(whole) // 2])
    _reset(environ)


def _reset(environ: Environ) -> None:
    connection: socket.socket = environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionResetError
