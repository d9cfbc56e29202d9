"""Finds the images that crash a decoder, by decoding each in a process that may die.

Nothing in Python can catch a crash in a decoder's C code. Once a process has died of some batch, its images are given,
one after the other, to a child process; the one that it dies of is known by then, and a new child takes the next.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from selectors import EVENT_READ, DefaultSelector

DECODER = "embedders.images.decoding:decode_image"
SECONDS_AN_IMAGE = 60.0
LENGTH_BYTES = 8


def crashing_images(
    images: Sequence[bytes | None], *, decoder: str = DECODER, seconds: float = SECONDS_AN_IMAGE
) -> dict[int, str]:
    """Decode images apart from this process; returns, by position, why the process of an image had to end.

    Images that merely cannot be read are not told: only those that crash the decoder, or keep it busy for ``seconds``.
    ``decoder`` is a function "module:name" of the image's bytes.
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
    """How many images a child survived, and what ended it before the last."""
    command = [sys.executable, "-m", "embedders.images.isolation", decoder]
    path = os.pathsep.join(entry for entry in (*sys.path, os.environ.get("PYTHONPATH", "")) if entry)
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        for done, image in enumerate(images):
            try:
                child.stdin.write(len(image).to_bytes(LENGTH_BYTES, "little") + image)
                child.stdin.flush()
            except BrokenPipeError:
                return done, _how_it_ended(child)
            if not _answers(child, seconds):
                child.kill()
                return done, f"decoding it took more than {seconds:g} s"
            if not child.stdout.read(1):
                return done, _how_it_ended(child)
        child.stdin.close()
    return len(images), None


def _answers(child: subprocess.Popen[bytes], seconds: float) -> bool:
    assert child.stdout is not None
    with DefaultSelector() as selector:
        selector.register(child.stdout, EVENT_READ)
        return bool(selector.select(seconds))


def _how_it_ended(child: subprocess.Popen[bytes]) -> str:
    code = child.wait()
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"it crashes the decoder ({name})"


def _serve(decoder: str) -> None:
    """Decode the images that come in, each after its length, and answer each with a byte."""
    module, _, name = decoder.partition(":")
    decode = getattr(import_module(module), name)
    while length := sys.stdin.buffer.read(LENGTH_BYTES):
        image = sys.stdin.buffer.read(int.from_bytes(length, "little"))
        # What merely cannot be read is a row's error, told when the row is embedded.
        with suppress(Exception):
            decode(image)
        sys.stdout.buffer.write(b".")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve(sys.argv[1])
