"""Images that crash a decoder: synthetic ones, since no real file is known that crashes the installed Pillow."""

from __future__ import annotations

import ctypes
import io
import time

import numpy as np
from PIL import Image

from embedders.images.isolation import crashing_images


def crash(image: bytes) -> None:
    """Decodes as a decoder with a bug would: reads from address 0."""
    if image == b"crash":
        ctypes.string_at(0)
    if image == b"exit":
        raise SystemExit(3)
    if image == b"hang":
        time.sleep(3600)
    if image == b"bad":
        raise ValueError("cannot be read")


def test_synthetic_crashes_are_told_apart_and_cost_no_other_image() -> None:
    images = [b"fine", b"crash", None, b"bad", b"crash", b"hang", b"fine"]
    found = crashing_images(images, decoder=f"{__name__}:crash", seconds=2)
    assert found == {
        1: "it crashes the decoder (SIGSEGV)",
        4: "it crashes the decoder (SIGSEGV)",
        5: "decoding it took more than 2 s",
    }


def test_images_that_are_fine_or_merely_unreadable_crash_nothing() -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(file, "PNG")
    assert crashing_images([file.getvalue(), b"no image", b"", None]) == {}
    assert crashing_images([]) == {}
