"""The HTTP side: one thread a connection, and the control routes under ``/_test`` that Qdrant does not have."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import sys
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson

from tests.qdrant_server.deferred import Deferral
from tests.qdrant_server.engine import Engine
from tests.qdrant_server.errors import ApiError
from tests.qdrant_server.faults import Fault
from tests.qdrant_server.options import Options
from tests.qdrant_server.traffic import Reply, Request, Traffic, error_reply

CONTROL = "/_test/"


class Server(socketserver.ThreadingTCPServer):
    """Listens on the loopback interface."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, options: Options) -> None:
        super().__init__(("127.0.0.1", options.port), Handler)
        self.traffic = Traffic(options, Engine(options))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away in the middle of an answer are part of the tests, not news."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    # one send an answer: headers and body in two packets would wait for a delayed acknowledgement
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        length = self.headers.get("Content-Length")
        if length is None and self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            return self._send(error_reply(ApiError(411, "the test server needs a Content-Length")))
        body = self.rfile.read(int(length or 0))
        if len(body) < int(length or 0):
            # the client died in the middle of its request
            self.close_connection = True
            return None
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body)
        if parts.path.startswith(CONTROL):
            return self._send(control(self.server.traffic, request))
        reply = self.server.traffic.serve(request)
        if reply is None:
            return self._drop()
        return self._send(reply)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _serve

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def _drop(self) -> None:
        self.close_connection = True
        # linger of zero turns close into a reset; the socket closes once its files are closed too
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            self.wfile.close()
        self.rfile.close()
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the log is asked for over the control routes."""


def control(traffic: Traffic, request: Request) -> Reply:
    """Answer a control request: set or clear faults, defer points, show or forget the log, drop all collections."""
    action = (request.method, request.path.removeprefix(CONTROL))
    result: Any = True
    if action == ("POST", "faults"):
        traffic.plan.add([Fault(**fault) for fault in orjson.loads(request.body)])
    elif action == ("POST", "defer"):
        deferral: dict[str, Any] = orjson.loads(request.body)
        traffic.engine.deferrals.add(deferral.pop("collection"), Deferral(**deferral))
    elif action == ("GET", "requests"):
        result = [asdict(entry) for entry in list(traffic.log.entries)]
    elif action in (("POST", "clear"), ("POST", "reset")):
        traffic.plan.clear()
        traffic.log.clear()
        traffic.engine.deferrals.clear()
        if action[1] == "reset":
            traffic.engine.reset()
    else:
        return error_reply(ApiError(404, f"no control route {request.method} {request.path}"))
    return Reply(200, orjson.dumps(result))
