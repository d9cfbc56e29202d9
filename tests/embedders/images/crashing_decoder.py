"""A synthetic decoder that ends its process for some images. It imports little, since each of its processes does."""

from __future__ import annotations

import ctypes
import os
import signal
import time


def decode(image: bytes) -> None:
    """Decodes as a decoder with a bug would."""
    if image == b"crash":
        ctypes.string_at(0)
    if image == b"abort":
        os.abort()
    if image == b"exit":
        os._exit(3)
    if image == b"raise exit":
        raise SystemExit(4)
    if image == b"out of memory":
        # What the kernel does when a machine or a container has no memory left.
        os.kill(os.getpid(), signal.SIGKILL)
    if image == b"hang":
        time.sleep(3600)
    if image == b"loud":
        print("a warning of the decoder", flush=True)
    if image == b"bad":
        raise ValueError("cannot be read")
