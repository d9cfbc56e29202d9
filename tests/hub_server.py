"""A server on 127.0.0.1 that speaks the Hugging Face hub's HTTP interface, and misbehaves where it is told to.

It serves what ``huggingface_hub`` asks for: model info, tree, and resolve with redirects to a second origin (the CDN)
for large files, or to a Xet store. Everything asked of it is logged.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

LFS_SUFFIXES = (".onnx", ".onnx_data", ".safetensors", ".npy", ".bin")


@dataclass
class Fault:
    """One kind of misbehaviour: ``status`` answers with an error, ``stall`` sends ``after`` bytes and then nothing,

    ``drip`` does so byte by byte for ever, ``cut`` closes the connection after ``after`` bytes, ``swap`` serves
    ``content`` in place of the file's. ``times`` counts down; None is for ever. It strikes requests of one ``method``.
    """

    kind: Literal["status", "stall", "drip", "cut", "swap"]
    times: int | None = 1
    status: int = 503
    after: int = 0
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    method: Literal["GET", "HEAD"] = "GET"


@dataclass(frozen=True)
class Request:
    """One request as it came in; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    cdn: bool


@dataclass(frozen=True)
class Repo:
    """Files of one repository at its one commit."""

    commit: str
    files: Mapping[str, bytes]


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        # Clients that hang up are part of the tests; anything else is worth its traceback.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class HubServer:
    """Serves while used as a context manager; ``url`` is what HF_ENDPOINT is to be."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.plain: dict[str, bytes] = {}
        self.xet_hashes: dict[str, str] = {}
        self.xet_store = ""
        self.faults: dict[str, list[Fault]] = {}
        self.requests: list[Request] = []
        self.ranges = True
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._servers = [_QuietServer(("127.0.0.1", 0), _handler(self, cdn)) for cdn in (False, True)]

    def __enter__(self) -> HubServer:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def url(self) -> str:
        """Address of the hub."""
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def cdn_url(self) -> str:
        """Address of the second origin, where large files are; another host, so that no client takes it for the hub."""
        return f"http://localhost:{self._servers[1].server_port}"

    def add_repo(self, repo: str, files: Mapping[str, bytes]) -> str:
        """Publish the files as the repository's only commit, whose id is returned."""
        parts = [f"{name}\0{hashlib.sha256(content).hexdigest()}" for name, content in sorted(files.items())]
        commit = hashlib.sha1("\n".join([repo, *parts]).encode()).hexdigest()
        self.repos[repo] = Repo(commit, dict(files))
        return commit

    def fail(self, path_end: str, *faults: Fault) -> None:
        """Let requests of paths that end so meet these faults, one after the other."""
        self.faults[path_end] = list(faults)

    def paths(self, method: str = "GET", path_end: str = "") -> list[str]:
        """Paths asked for so far."""
        return [item.path for item in self.requests if item.method == method and item.path.endswith(path_end)]

    def fault_for(self, method: str, path: str) -> Fault | None:
        """The fault the next request of this path meets, which is used up by asking."""
        with self._lock:
            for path_end, faults in self.faults.items():
                if faults and path.endswith(path_end) and faults[0].method == method:
                    fault = faults[0]
                    if fault.times is not None:
                        fault.times -= 1
                        if fault.times == 0:
                            faults.pop(0)
                    return fault
        return None


def git_blob_id(content: bytes) -> str:
    """The name git gives a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_lfs(name: str) -> bool:
    """Whether the hub would keep the file in large file storage."""
    return name.endswith(LFS_SUFFIXES)


def _sibling(name: str, content: bytes) -> dict[str, object]:
    lfs = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    entry = {"rfilename": name, "size": len(content), "blobId": git_blob_id(content)}
    return {**entry, "lfs": lfs} if is_lfs(name) else entry


def _tree_entry(name: str, content: bytes) -> dict[str, object]:
    lfs = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    entry = {"type": "file", "path": name, "oid": git_blob_id(content), "size": len(content)}
    return {**entry, "lfs": lfs} if is_lfs(name) else entry


def _handler(hub: HubServer, cdn: bool) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        server_state = hub
        is_cdn = cdn

    return Handler


class _Handler(BaseHTTPRequestHandler):
    server_state: HubServer
    is_cdn: bool
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server_state.requests.append(Request(self.command, path, headers, self.is_cdn))
        fault = self.server_state.fault_for(self.command, path)
        if fault is not None and fault.kind == "stall" and self.command == "HEAD":
            self.server_state.closing.wait(60)
        elif fault is not None and fault.kind == "status":
            self._send(fault.status, b"{}", fault.headers)
        elif path in self.server_state.plain:
            self._send_file(self.server_state.plain[path], fault, {})
        elif path.startswith("/api/models/"):
            self._send_api(path.removeprefix("/api/models/"), "blobs" in parse_qs(url.query), fault)
        else:
            self._send_resolved(path, fault)

    def _send_api(self, path: str, blobs: bool, fault: Fault | None) -> None:
        repo_name, found = _find_repo(self.server_state, path)
        rest = path.removeprefix(repo_name).strip("/").split("/")
        if found is None or (len(rest) > 1 and rest[1] not in ("main", found.commit)):
            what = "RevisionNotFound" if found else "RepoNotFound"
            self._send(404, b'{"error": "not found"}', {"X-Error-Code": what})
            return
        body: object
        if rest[0] == "xet-read-token":
            access = {"X-Xet-Cas-Url": self.server_state.xet_store, "X-Xet-Access-Token": "xet"}
            self._send(200, b"", {**access, "X-Xet-Token-Expiration": str(int(time.time()) + 3600)})
            return
        if rest[0] == "tree":
            body = [_tree_entry(name, content) for name, content in found.files.items()]
        else:
            describe = _sibling if blobs else lambda name, _: {"rfilename": name}
            siblings = [describe(name, content) for name, content in found.files.items()]
            body = {"id": repo_name, "modelId": repo_name, "sha": found.commit, "siblings": siblings}
        self._send_file(json.dumps(body).encode(), fault, {"Content-Type": "application/json"})

    def _send_resolved(self, path: str, fault: Fault | None) -> None:
        repo_name, found = _find_repo(self.server_state, path.lstrip("/"))
        parts = path.lstrip("/").removeprefix(repo_name).strip("/").split("/", 2)
        if found is None or len(parts) != 3 or parts[1] not in ("main", found.commit) or parts[2] not in found.files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound" if found else "RepoNotFound"})
            return
        name = parts[2]
        content = found.files[name]
        headers = {"X-Repo-Commit": found.commit, "ETag": f'"{git_blob_id(content)}"'}
        if is_lfs(name) and not self.is_cdn:
            digest = hashlib.sha256(content).hexdigest()
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            if xet_hash := self.server_state.xet_hashes.get(name):
                token = f"{self.server_state.url}/api/models/{repo_name}/xet-read-token/{found.commit}"
                headers |= {"X-Xet-Hash": xet_hash, "Link": f'<{token}>; rel="xet-auth"'}
            self._send(302, b"", {**headers, "Location": self.server_state.cdn_url + self.path + "?Signature=secret"})
        else:
            self._send_file(content, fault, headers)

    def _send_file(self, content: bytes, fault: Fault | None, headers: Mapping[str, str]) -> None:
        if fault is not None and fault.kind == "swap":
            content = fault.content
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        headers = {"ETag": etag, **headers}
        asked = self.headers.get("Range", "")
        if self.server_state.ranges and asked and self.headers.get("If-Range", headers["ETag"]) == headers["ETag"]:
            start = int(asked.removeprefix("bytes=").split("-")[0])
            part = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            self._send(206, content[start:], {**headers, **part}, fault)
        else:
            self._send(200, content, headers, fault)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], fault: Fault | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault is None or fault.kind == "swap":
            self.wfile.write(body)
            return
        self.close_connection = True
        self.wfile.write(body[: fault.after])
        self.wfile.flush()
        if fault.kind == "stall":
            self.server_state.closing.wait(60)
        elif fault.kind == "drip":
            self._drip(body[fault.after :])

    def _drip(self, body: bytes) -> None:
        try:
            for byte in body:
                if self.server_state.closing.wait(0.05):
                    return
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
        except OSError:
            return  # the client has had enough, which is what is tested


def _find_repo(hub: HubServer, path: str) -> tuple[str, Repo | None]:
    for name, repo in hub.repos.items():
        if path == name or path.startswith(name + "/"):
            return name, repo
    return "", None
