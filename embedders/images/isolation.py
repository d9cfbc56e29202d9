"""Finds the images that crash a decoder, by decoding each in a process that may die.

Nothing in Python can catch a crash in a decoder's C code. Once a process has died of some batch, a child process
decodes the batch's images one after the other; where it dies, the image is known, and a new child takes the next one.

The child is a module run by a fresh interpreter, not a worker of concurrent.futures: that one tells neither signal nor
exit code of a worker that died, cannot end one that hangs (before Python 3.14), and runs the caller's main script again
in every worker.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from embedders.errors import FleetembedError

DECODER = "embedders.images.decoding:decode_image"
SECONDS_AN_IMAGE = 60.0
# Most that a child's imports may take, on a busy machine.
START_SECONDS = 300.0


def crashing_images(
    images: Sequence[bytes | None], *, decoder: str = DECODER, seconds: float = SECONDS_AN_IMAGE
) -> dict[int, str]:
    """Decode images apart from this process; returns, by position, how the images ended it that did.

    Images that merely cannot be read are left out: only those count that crash the decoder, or keep it busy for more
    than ``seconds``. ``decoder`` is a function "module:name" of an image's bytes. Raises FleetembedError where the
    process does not start, or cannot import the decoder.
    """
    crashes: dict[int, str] = {}
    waiting = [position for position, image in enumerate(images) if image is not None]
    while waiting:
        done, reason = _decode_in_child([images[position] or b"" for position in waiting], decoder, seconds)
        if reason is not None:
            crashes[waiting[done]] = reason
            done += 1
        waiting = waiting[done:]
    return crashes


def _decode_in_child(images: Sequence[bytes], decoder: str, seconds: float) -> tuple[int, str | None]:
    """Number of images that a child survived, and what ended it; None where it survived all."""
    ours, theirs = Pipe()
    with theirs:
        child = _start(theirs, decoder)
    with child, ours:
        if _ended(child, ours, START_SECONDS):
            module = decoder.partition(":")[0]
            raise FleetembedError(f"images cannot be decoded apart: {sys.executable} -c 'import {module}' tells why")
        for done, image in enumerate(images):
            # A child that has died since its last answer shows below.
            with suppress(ConnectionError):
                ours.send_bytes(image)
            if reason := _ended(child, ours, seconds):
                return done, reason
    return len(images), None


def _start(connection: Connection, decoder: str) -> subprocess.Popen[bytes]:
    file = Path(__file__).resolve()
    # First where this package is: the folder that the job was started in may have one of the same name.
    places = (str(file.parents[2]), *sys.path, os.environ.get("PYTHONPATH", ""))
    path = os.pathsep.join(entry for entry in places if entry)
    return subprocess.Popen(
        [sys.executable, str(file), str(connection.fileno()), decoder],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
        pass_fds=[connection.fileno()],
    )


def _ended(child: subprocess.Popen[bytes], connection: Connection, seconds: float) -> str | None:
    """Wait for the child's answer; returns how it ended where none comes, None where one does."""
    if not connection.poll(seconds):
        child.kill()
        return f"decoding it took more than {seconds:g} s"
    try:
        connection.recv_bytes()
    except (EOFError, ConnectionError):
        code = child.wait()
        return f"it crashes the decoder ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"
    return None


def _serve(connection: Connection, decoder: str) -> None:
    """Tell that the decoder is loaded, then answer each image that comes once it is decoded."""
    module, _, name = decoder.partition(":")
    decode = getattr(import_module(module), name)
    with suppress(EOFError):
        while True:
            connection.send_bytes(b"")
            image = connection.recv_bytes()
            # An image that merely cannot be read becomes its row's error when the row is embedded.
            with suppress(Exception):
                decode(image)


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])), sys.argv[2])
