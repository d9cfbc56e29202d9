"""Small images of the tests' own, and servers of them."""

from __future__ import annotations

import io
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from PIL import Image

Handler = Callable[[BaseHTTPRequestHandler], None]


def picture(number: int = 0, kind: str = "PNG", size: tuple[int, int] = (8, 6), **options: Any) -> bytes:
    """Encode an image that differs for each number."""
    file = io.BytesIO()
    colour = (number % 256, number // 256 % 256, 100)
    Image.new("RGB", size, colour).save(file, kind, **options)
    return file.getvalue()


def send(request: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    request.send_response(status)
    for name, value in {"Content_Length": str(len(body)), **headers}.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    request.wfile.write(body)


class Web:
    """A server on 127.0.0.1; ``seen`` are its requests' paths, Host headers and headers, in order."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: list[tuple[str, dict[str, str]]] = []

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"


@contextmanager
def serving(pages: Mapping[str, bytes | Handler], tls: ssl.SSLContext | None = None) -> Iterator[Web]:
    """Serve pages by path: bytes as they are, or what a handler sends."""

    class Pages(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            web.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            page = pages.get(self.path.partition("?")[0])
            try:
                if page is None:
                    send(self, b"nothing here", 404)
                elif isinstance(page, bytes):
                    send(self, page)
                else:
                    page(self)
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Pages)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    web = Web(server.server_address[1])
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
