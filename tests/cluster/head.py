"""A Ray head as an operator starts it: ``ray start`` with a token, and jobs that are submitted to it."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.waiting import SECONDS

RAY = Path(sys.executable).with_name("ray")


@dataclass(frozen=True)
class Head:
    """A running head: the address that jobs are submitted to, and the environment of those who have its token."""

    url: str
    environment: dict[str, str]

    @property
    def token(self) -> str:
        return Path(self.environment["RAY_AUTH_TOKEN_PATH"]).read_text()

    def command(self, *arguments: str) -> list[str]:
        return [str(RAY), "job", arguments[0], "--address", self.url, *arguments[1:]]


@contextmanager
def started_head(cpus: int = 4) -> Iterator[Head]:
    """Start a head with its dashboard on free ports, and end what it started, by its pids."""
    # Paths of sockets are limited, so that pytest's own folders are too deep.
    folder = Path(tempfile.mkdtemp(prefix="fe-", dir="/tmp"))
    (folder / "ray").mkdir()
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "COLUMNS"))}
    environment |= {"RAY_TMPDIR": str(folder), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    # A job's ``python`` is the one that the head finds.
    environment["PATH"] = f"{RAY.parent}{os.pathsep}{environment['PATH']}"
    port, dashboard, agent, client = free_ports(4)
    try:
        subprocess.run(
            [
                *(str(RAY), "start", "--head", "--disable-usage-stats", f"--num-cpus={cpus}"),
                *(f"--port={port}", f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1"),
                *(f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"),
                *("--object-store-memory=150000000", f"--temp-dir={folder / 'ray'}"),
            ],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        yield Head(f"http://127.0.0.1:{dashboard}", environment)
    finally:
        end_processes_of(folder)
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, outside of those that Ray gives to workers (10002 to 19999)."""
    with ExitStack() as opened:
        found: list[int] = []
        while len(found) < count:
            port = opened.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            if port >= 20_000:
                found.append(port)
    return found


def end_processes_of(folder: Path) -> None:
    """Kill every process that has the folder in its command line or works in it, until none is left."""
    deadline = time.monotonic() + 30
    while left := [process for process in psutil.process_iter() if belongs_to(process, str(folder))]:
        assert time.monotonic() < deadline, f"processes of {folder} do not end: {left}"
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=5)


def belongs_to(process: psutil.Process, folder: str) -> bool:
    try:
        return any(folder in text for text in [*process.cmdline(), process.cwd()])
    except psutil.Error:
        return False
